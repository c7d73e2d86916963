"""``python -m deploy.clients`` writes the generated files of both clients."""

from pathlib import Path

from deploy.clients.document import client_document
from deploy.clients.files import JAVASCRIPT, python_files
from deploy.clients.typescript import typescript

if __name__ == "__main__":
    document = client_document()
    texts = python_files(document)
    texts[JAVASCRIPT / "openapi.d.ts"] = typescript(document, JAVASCRIPT / "package.json")
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(Path.cwd()))
