"""What the sanitizers say of the programs that a test starts (presets asan and tsan): any report fails the test, whatever else
came of it. Every process writes its reports to a file of its own, since logs are read in part, and nobody sees the exit status
of a rank whose group was to be killed anyway."""
import os

import pytest


class Reports:
    def __init__(self, folder):
        self.folder = folder
        for name in ("ASAN", "LSAN", "TSAN", "UBSAN"):
            options = [os.environ.get(f"{name}_OPTIONS"), f"log_path={folder / name.lower()}"]
            os.environ[f"{name}_OPTIONS"] = ":".join(filter(None, options))

    def take(self):
        """The text of the reports since the last call."""
        files = sorted(self.folder.iterdir())
        texts = [f"{file.name}\n{file.read_text(errors='replace')}" for file in files]
        for file in files:
            file.unlink()
        return "\n".join(texts)

    def check(self):
        said = self.take()
        if said:
            pytest.fail(f"sanitizers report:\n{said}", pytrace=False)


@pytest.fixture(scope="session")
def reports(tmp_path_factory):
    return Reports(tmp_path_factory.mktemp("reports"))


@pytest.fixture(scope="session", autouse=True)
def no_report_at_the_end(reports):
    """Of programs that several tests share: they end last."""
    yield
    reports.check()


@pytest.fixture(autouse=True)
def no_report(reports):
    yield
    reports.check()
