"""Reads interaction files (docs/formats.md) for the programs of this folder."""

import numpy as np

HEADER = 64
SECTION = np.dtype([("kind", "<u4"), ("split", "<u4"), ("offset", "<u8"), ("bytes", "<u8"), ("checksum", "<u8")])
USER_OFFSETS, USER_ITEMS, TRAIN = 0, 1, 0


def training(path):
    """The training interactions by user: the shape [U, I], offsets [U + 1] (u64) and items [n] (u32), mapped."""
    data = np.memmap(path, np.uint8, "r")
    assert bytes(data[:8]) == b"MACRDATA", f"{path} is no interaction file: make one with `macr import`"
    count = int(data[12:16].view("<u4")[0])
    users, items = map(int, data[16:32].view("<u8"))
    table = data[HEADER : HEADER + count * SECTION.itemsize].view(SECTION)

    def section(kind, dtype):
        (found,) = table[(table["kind"] == kind) & (table["split"] == TRAIN)]
        return data[int(found["offset"]) :][: int(found["bytes"])].view(dtype)

    return (users, items), section(USER_OFFSETS, "<u8"), section(USER_ITEMS, "<u4")
