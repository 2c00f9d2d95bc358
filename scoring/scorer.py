"""The model of a run: bytes of pictures in, rows out; the same answers as POST /predict."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from models.bundle.load import open_bundle
from models.bundle.signing import load_public_keys
from models.errors import PictureError
from models.text import clean
from scoring.inputs import Entry, Unreadable
from scoring.plan import Options
from scoring.rows import answer_columns, schema_of
