"""The whole system on this machine, and a trial on it that lasts."""
