"""Checks of answers that several tests of the endpoints share."""

import math
from typing import Any

import httpx

from service.http.openapi.schemas import PredictAnswer, Prediction, Problem
from tests.service.fixtures import FAMILIAR


def good(response: httpx.Response) -> PredictAnswer:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    answer = PredictAnswer.model_validate(response.json())
    assert [item.index for item in answer.predictions] == list(range(len(answer.predictions)))
    assert answer.request_id == response.headers["x-request-id"]
    for item in answer.predictions:
        if isinstance(item, Prediction):
            assert list(item.scores) == answer.model.labels
            # Each is rounded to 6 decimals.
            assert math.isclose(sum(item.scores.values()), 1, abs_tol=1e-6 * len(item.scores))
            assert item.label == max(item.scores, key=item.scores.__getitem__)
            assert item.score == item.scores[item.label]
            expected = item.label if item.score >= answer.threshold else "uncertain"
            assert item.decision == ("unfamiliar" if item.familiar is False else expected)
            assert item.familiar in (None, item.distance is not None and item.distance <= FAMILIAR)
    return answer


def bad(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    found = Problem.model_validate(document)
    assert (found.status, found.code) == (status, code)
    assert found.detail
    assert found.request_id == response.headers["x-request-id"]
    return document
