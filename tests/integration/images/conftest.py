"""Each image is made once for the whole session."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.images.image import Image, build

ImageOf = Callable[[str], Image]


@pytest.fixture(scope="session")
def image_of(tmp_path_factory: pytest.TempPathFactory) -> ImageOf:
    made: dict[str, Image] = {}

    def image(name: str) -> Image:
        if name not in made:
            made[name] = build(name, tmp_path_factory.mktemp(name))
        return made[name]

    return image
