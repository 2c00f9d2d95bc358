"""The JSON of POST /predict."""

from models.errors import UndecodableImage
from service.http.responses import picture_entries
from service.http.uploads import Upload
from service.inference.decision import Prediction


def test_detail_of_a_failed_picture_is_cleaned() -> None:
    answer = Prediction("mask", "mask", 1.0, {"mask": 1.0})
    uploads = [Upload("a.png"), Upload("b.png")]
    broken = UndecodableImage("broken \x1b[31m chunk")
    _, failed = picture_entries(uploads, [answer, broken], show_face=False)
    assert failed["error"]["detail"] == "broken \N{REPLACEMENT CHARACTER}[31m chunk"
