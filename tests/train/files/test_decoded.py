"""Files of text and JSON: what has no end is not begun, and what is no JSON is a ValueError."""

import os
import threading

import pytest

from lstmcore.train.files.decoded import content, decoded, parsed


@pytest.mark.skipif(os.name != "posix", reason="devices and pipes as POSIX has them")
def test_a_device_is_refused_and_a_pipe_is_read(tmp_path):
    """/dev/zero, say, would fill the memory; `<(zcat book.gz)` of a shell is a pipe."""
    null, pipe = tmp_path / "null", tmp_path / "pipe"
    null.symlink_to(os.devnull)
    for read in (content, decoded, parsed):
        with pytest.raises(ValueError, match="null should be a file; it is a device, which may have no end"):
            read(null)
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("a text",))
    writer.start()
    assert decoded(pipe) == ("a text", "")
    writer.join()


def test_json_as_consoles_of_windows_write_it(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, 2]}\r\n', encoding="utf-16")
    assert parsed(tmp_path / "a.json") == {"a": [1, 2]}


@pytest.mark.parametrize("text", ["", "{", "[" * 10**5, "\0"])
def test_what_is_no_json(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"Expecting|nested too deep|is a zero"):
        parsed(tmp_path / "a.json")
