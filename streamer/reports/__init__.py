"""Reports: self-contained HTML pages of what a command found, and the folder they are kept in."""
