"""What the documents say of the tree: computed tables are what their script prints, and files that are named exist."""
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(ROOT.glob("docs/*.md")) + [ROOT / "README.md"]


def test_the_sizing_table_is_what_its_script_prints():
    table = subprocess.run([str(ROOT / "scripts" / "sizing_table")], capture_output=True, text=True, check=True).stdout
    assert table in (ROOT / "docs" / "operations.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_exist(document):
    folders = "bench|coordinator|comm|config|demo|docker|docs|kernels|monitoring|scripts|tests|worker"
    named = re.findall(rf"(?<![\w/.-])((?:{folders})/[\w@./*-]+)", document.read_text())
    for name in named:
        name = name.rstrip(".")
        assert list(ROOT.glob(name)), f"{document.name} names {name}, which is not there"


def test_every_folder_that_is_built_tells_maintainers_about_itself():
    rooms = ["bench", "comm", "config", "coordinator", "kernels", "monitoring", "worker"]
    silent = [str(folder.relative_to(ROOT)) for room in rooms
              for folder in (file.parent for file in (ROOT / room).rglob("CMakeLists.txt"))
              if not (folder / "README.md").exists()]
    assert not silent, f"no README.md: {silent}"


def sources():
    """The text of the product's sources, with adjacent string literals joined as the compiler does."""
    files = [file for room in ("coordinator", "worker", "comm", "config", "kernels")
             for file in (ROOT / room).rglob("*") if file.suffix in (".cc", ".cu", ".h")]
    return re.sub(r'"\s*\n\s*"', "", "\n".join(file.read_text() for file in files))


def test_messages_that_are_explained_are_in_the_code():
    code = sources()
    messages = re.findall(r"^### `(.*)`$", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(messages) > 20
    for message in messages:
        for piece in message.split("…"):
            assert piece.strip() in code, f"no source says {piece!r} of {message!r}"
