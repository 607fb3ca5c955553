from pathlib import Path

import pytest

from fcn_keras.distribution import processor

ONE = "processor\t: {0}\nmodel name\t: Imagined 3000 @ 2.0:1\nflags\t\t: fpu avx2 {1}\n"


@pytest.fixture
def set_cpuinfo(monkeypatch):
    def set_up(text):
        processor._cpuinfo.cache_clear()
        monkeypatch.setattr(Path, "read_text", text)

    yield set_up
    monkeypatch.undo()
    processor._cpuinfo.cache_clear()


@pytest.mark.parametrize(("flag", "has"), [("avx512_bf16", True), ("avx512f", False)])
def test_name_and_flags_come_from_the_first_core(set_cpuinfo, flag, has):
    set_cpuinfo(lambda path, **options: ONE.format(0, flag) + "\n" + ONE.format(1, ""))
    assert processor.name() == "Imagined 3000 @ 2.0:1"
    assert processor.flags() == {"fpu", "avx2", flag}
    assert processor.has_bfloat16() is has


def test_without_cpuinfo_there_is_still_a_name(set_cpuinfo):
    def missing(path, **options):
        raise FileNotFoundError

    set_cpuinfo(missing)
    assert processor.name() and not processor.flags() and not processor.has_bfloat16()
