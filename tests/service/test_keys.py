"""The command `python -m service.keys`."""

import re

import pytest

from service.keys import hash_of, main


def test_keys_command_prints_a_new_key_and_its_hash(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    key, found = re.findall(r": (\S+)$", capsys.readouterr().out, re.M)
    assert len(key) >= 43
    assert hash_of(key) == found
    main()
    assert key not in capsys.readouterr().out
