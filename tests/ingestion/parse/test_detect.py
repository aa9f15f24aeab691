import random
from pathlib import Path

import pytest

from ingestion.parse import mime
from ingestion.parse.detect import detect
from rag.errors import DocumentError

from .conftest import Maker, ZipMaker  # noqa: TID252 - builders beside the tests


def refusal(path: Path, name: str) -> str:
    with pytest.raises(DocumentError) as refused:
        detect(path, name)
    return refused.value.code
