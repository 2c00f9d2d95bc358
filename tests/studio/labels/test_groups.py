"""Groups by a pattern of the pictures' names."""

import pytest

from studio.labels import matching_process
from studio.labels.groups import preview_groups
from studio.problems import BadPattern
from tests.studio.workspace import Workspace, picture


@pytest.mark.parametrize("pattern", ["(a|a)*$", "((a+))+$", "(.*)(.*)(.*)(.*)(.*)(.*)(.*)zq"])
def test_a_slow_pattern_is_given_up(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    """Python's engine would hold all threads of the studio meanwhile."""
    monkeypatch.setattr(matching_process, "MATCHING_S", 0.5)
    workspace.add({f"mask/{'a' * 90}.png": picture("a")})
    with pytest.raises(BadPattern, match="takes over"):
        preview_groups(workspace.database, workspace.project, pattern)


@pytest.mark.parametrize("pattern", ["(", "*", "a{99999999999}", "(?P<", "", "a" * 201])
def test_what_is_no_pattern_has_a_reason(workspace: Workspace, pattern: str) -> None:
    with pytest.raises(BadPattern):
        preview_groups(workspace.database, workspace.project, pattern)


def test_the_first_bracket_or_the_whole_match_is_the_group(workspace: Workspace) -> None:
    names = ["eva_1.png", "eva_2.png", "\ufffd_3.png", "4.png"]
    workspace.add({f"mask/{name}": picture(name) for name in names})
    by_bracket = preview_groups(workspace.database, workspace.project, r"^(\D+)_")
    assert {name: len(ids) for name, ids in by_bracket.groups.items()} == {"eva": 2}
    assert by_bracket.unmatched == 2
    whole = preview_groups(workspace.database, workspace.project, "eva")
    assert (list(whole.groups), whole.unmatched) == (["eva"], 2)
