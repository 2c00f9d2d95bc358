"""The figures in words: what a person without any statistics should take from a run."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

# How far figures must be apart to be worth a sentence, as shares of pictures.
_LEAK: Final = 0.02
_WIDE: Final = 0.08
_UNEVEN: Final = 0.02
_WEAK: Final = 0.05  # recall below the mean over classes
_LOPSIDED: Final = 3.0  # pictures of the largest class for one of the smallest
_MOST_STEPS: Final = 5

# Control characters but tab and line feed, and halves of characters that no file can hold.
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

Summary = Mapping[str, Any]


def clean(text: str) -> str:
    """Text that any encoder takes: no lone surrogates, no control characters."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def percent(share: Any) -> str:
    """A share as people read it; what is not all is never shown as 100%, what is unknown as –."""
    if not isinstance(share, int | float):
        return "–"
    text = f"{share:.1%}"
    if text == "100.0%":
        return "100%" if share >= 1.0 else ">99.9%"
    if text == "0.0%":
        return "0%" if share <= 0.0 else "<0.1%"
    return text


def span(interval: Sequence[float] | None) -> str:
    """The ends of an interval of shares."""
    if not interval:
        return ""
    return " to ".join(f"{end:.1%}".replace("100.0%", "100%") for end in interval)


def hundred(share: float) -> str:
    """How many of a hundred."""
    count = round(share * 100)
    if count == 100 and share < 1.0:
        return "more than 99"
    if count == 0 and share > 0.0:
        return "fewer than 1"
    return f"about {count}" if 0 < count < 100 else ("all" if count else "none")


def number(count: Any) -> str:
    """A count with separated thousands."""
    if not isinstance(count, int | float):
        return "–"
    return f"{count:,.0f}"


def plural(count: Any, one: str, many: str = "") -> str:
    """A count and its noun."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names in a sentence, the later ones only counted."""
    shown = [f"“{name}”" for name in names[:most]]
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def headline(summary: Summary) -> str:
    """What to expect of the model, in one or two sentences for anybody."""
    figures = summary.get("cross_validation") or {}
    if figures.get("accuracy") is None:
        return "The model has been trained; how good it is has not been measured."
    right = f"{hundred(figures['accuracy'])} right"
    if figures["accuracy"] >= 1.0:
        right = "all or nearly all right"
    text = f"Of 100 new pictures like these, the model is expected to get {right}"
    if interval := figures.get("accuracy_interval_95"):
        text += f" (between {round(interval[0] * 100)} and {round(interval[1] * 100)})"
    return f"{text}. {_most_wrong(figures, summary.get('labels') or [])}".strip()


def worst_cell(confusion: Sequence[Sequence[int]]) -> tuple[int, int] | None:
    """(true class, taken for) of the most frequent mistake; the larger share breaks ties."""
    cells = [
        (count, count / sum(row), -i, -j)
        for i, row in enumerate(confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    if not cells:
        return None
    _, _, i, j = max(cells)
    return -i, -j


def _most_wrong(figures: Summary, labels: Sequence[str]) -> str:
    confusion = figures.get("confusion")
    if not confusion or not labels:
        return ""
    cell = worst_cell(confusion)
    if cell is None:
        pictures = sum(sum(row) for row in confusion)
        return (
            f"When it was tried, it misjudged none of {number(pictures)} pictures, which is "
            "no promise that it never will."
        )
    true, taken = cell
    return (
        f"It is most often wrong about “{labels[true]}” pictures that it takes for "
        f"“{labels[taken]}” ({confusion[true][taken]} of {number(sum(confusion[true]))})."
    )


def caveats(summary: Summary) -> list[str]:
    """What the headline does not say, and should be known before it is believed."""
    figures = summary.get("cross_validation") or {}
    found = [
        _wide(figures),
        _leaking(figures, summary.get("naive_split") or {}),
        _uneven(figures),
        _unsure(summary.get("decision") or {}),
        *(
            _elsewhere(name, test, figures)
            for name, test in (summary.get("tests") or {}).items()
            if test
        ),
    ]
    if figures and not summary.get("tests"):
        found.append(
            "“Like these” means from the same source: the same kind of camera, light and "
            "surroundings. Pictures from elsewhere are usually judged worse, and how much worse "
            "has not been measured."
        )
    return [sentence for sentence in found if sentence]


def _wide(figures: Summary) -> str:
    interval = figures.get("accuracy_interval_95")
    if not interval or interval[1] - interval[0] < _WIDE:
        return ""
    return (
        f"The range is wide because only {plural(figures['pictures'], 'picture')} in "
        f"{plural(figures['groups'], 'independent group')} could be tried: the real figure may "
        "lie anywhere in it."
    )


def _leaking(figures: Summary, naive: Summary) -> str:
    real, flattered = figures.get("balanced_accuracy"), naive.get("balanced_accuracy")
    if real is None or flattered is None or flattered - real < _LEAK:
        return ""
    return (
        f"A plain random split would have promised {percent(flattered)} instead of "
        f"{percent(real)} (mean over classes), because near-copies of a picture, or pictures of "
        "one group, would have been both learnt and tried. The lower figure is the honest one."
    )


def _uneven(figures: Summary) -> str:
    plain, balanced = figures.get("accuracy"), figures.get("balanced_accuracy")
    if plain is None or balanced is None or abs(plain - balanced) < _UNEVEN:
        return ""
    return (
        "The classes are of different size, and the large ones count more. If every class came "
        f"equally often, {hundred(balanced)} of 100 would be right."
    )


def _unsure(decision: Summary) -> str:
    if decision.get("coverage") is None:
        return ""
    unsure = 1.0 - decision["coverage"]
    text = (
        f"It says “uncertain” rather than guess for {hundred(unsure)} of 100 pictures."
        if unsure
        else "It was sure enough of every picture to give an answer."
    )
    text += f" Of the answers that it gave, {percent(decision['error'])} were wrong"
    text += f" (at most {percent(decision['error_bound'])}, with 95% confidence)"
    if decision.get("reached"):
        return text + "."
    return (
        f"{text}; that no more than {percent(decision['target_error'])} are wrong, as was asked "
        "for, cannot be shown from so few pictures."
    )


def _elsewhere(name: str, test: Summary, figures: Summary) -> str:
    interval, own = test.get("accuracy_interval_95"), figures.get("accuracy_interval_95")
    if test.get("accuracy") is None or not interval:
        return ""
    wrong = test["pictures"] - round(test["accuracy"] * test["pictures"])
    text = (
        f"On the {plural(test['pictures'], 'picture')} of “{name}”, which it had never seen, "
        f"{percent(test['accuracy'])} were right ({wrong} wrong; {span(interval)} with 95% "
        "confidence)"
    )
    if own and interval[1] < own[0]:
        return f"{text}: clearly worse than on pictures like those it learnt from."
    return f"{text}."


def next_steps(summary: Summary, suspects: int) -> list[str]:
    """What would make the model better, most urgent first.

    Args:
        summary: The figures.
        suspects: Pictures whose label may be wrong.
    """
    steps = [
        f"Mend this first: {_sentence(finding['message'])}"
        for finding in summary.get("audit") or []
        if finding.get("level") == "error" and finding.get("message")
    ][:2]
    if suspects:
        steps.append(
            f"Look at the {plural(suspects, 'picture')} whose label may be wrong, listed below. "
            "Move those that lie in the wrong folder (or list them in labels.csv), and train "
            "again: a few wrong labels cost more than a few missing pictures."
        )
    steps += [*_from_tests(summary), *_from_curve(summary), *_from_classes(summary)]
    decision = summary.get("decision") or {}
    if decision and not decision.get("reached", True):
        steps.append(
            "Before relying on answers without a second look, collect more pictures to try the "
            f"model on: too few are there to show an error of {percent(decision['target_error'])} "
            "or less."
        )
    if not summary.get("tests"):
        steps.append(
            "Photograph some pictures where the model will be used, sort them into the same "
            "folders, and give them as a separate test set: that is the best forecast there is."
        )
    if len(steps) < 2:
        steps.append(
            "Look through the misjudged pictures below for what they share (a pose, a light, a "
            "camera), and add pictures of that kind with the right label."
        )
    if len(steps) < 2:
        steps.append("When it is in use, keep what it was unsure of, label it, and train again.")
    return steps[:_MOST_STEPS]


def _sentence(text: str) -> str:
    text = text.strip()
    return text if re.search(r"[.!?]$", text) else f"{text}."


def _from_tests(summary: Summary) -> list[str]:
    own = (summary.get("cross_validation") or {}).get("accuracy_interval_95")
    worse = [
        (test["accuracy"], name, test)
        for name, test in (summary.get("tests") or {}).items()
        if own and test and (test.get("accuracy_interval_95") or own)[1] < own[0]
    ]
    if not worse:
        return []
    _, name, test = min(worse, key=lambda row: row[:2])
    slices = [row for found in test.get("slices") or [] for row in found["slices"]]
    worst = min(slices, key=lambda row: (row["accuracy"], -row["pictures"]), default=None)
    above_all = ""
    if worst and worst["right"] < worst["pictures"]:
        count = f"{worst['right']} of {worst['pictures']} right"
        above_all = f", above all of “{worst['name']}” ({count})"
    return [
        f"Add pictures like those of “{name}” to the training folders{above_all}: there it is "
        "clearly worse than on its own kind of pictures. Keep some aside to try it on."
    ]


def _from_curve(summary: Summary) -> list[str]:
    curve = summary.get("learning_curve") or {}
    if curve.get("at_twice") is None or not curve.get("points"):
        return []
    now, twice = curve["points"][-1]["mean"], curve["at_twice"]
    if curve.get("outlook") == "more":
        return [
            f"Collect more pictures of every class: with twice as many, {percent(twice)} right "
            f"(mean over classes) may be expected instead of {percent(now)}."
        ]
    if curve.get("outlook") == "same":
        return [
            "More pictures of the same kind would hardly help. Collect other kinds: other places, "
            "cameras and light, and the borderline cases that you care about."
        ]
    return [
        "Whether more pictures of the same kind would help cannot be told. Other kinds are the "
        "safer choice: other places, cameras and light, and borderline cases."
    ]


def _from_classes(summary: Summary) -> list[str]:
    figures = summary.get("cross_validation") or {}
    recall = figures.get("recall") or {}
    pictures = {
        label: count
        for label, count in ((summary.get("dataset") or {}).get("pictures") or {}).items()
        if count
    }
    if recall and figures.get("balanced_accuracy") is not None:
        weakest = min(recall, key=lambda label: (recall[label], label))
        if recall[weakest] < figures["balanced_accuracy"] - _WEAK:
            return [
                f"Add pictures of “{weakest}”, the class that is found least often "
                f"({percent(recall[weakest])} of its pictures), in all the ways it can look."
            ]
    if pictures and max(pictures.values()) > _LOPSIDED * min(pictures.values()):
        least = min(pictures, key=lambda label: (pictures[label], label))
        return [
            f"Add pictures of “{least}”: it has {number(pictures[least])}, the largest class "
            f"{number(max(pictures.values()))}."
        ]
    return []
