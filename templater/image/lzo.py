"""Decompression of LZO, which some squashfs files use."""


def decompress_lzo(data: bytes, most: int) -> bytes:
    """Decompress LZO1X data. The kernel's lzo.rst describes the format.

    Stops after the step in which the output exceeds ``most`` bytes. Raises IndexError for invalid data, and
    for data after the end of the stream.
    """
    made = bytearray()
    at = literals = 0
    after = 0  # the number of literals before the instruction; 4 stands for 4 or more
    if data[0] > 17:
        at, literals = 1, data[0] - 17
        after = min(literals, 4)
    while len(made) <= most:
        made += data[at : at + literals]
        at += literals
        code = data[at]
        at += 1
        literals = 0
        if code < 16 and after == 0:
            literals, at = _length(data, at, code, 15)
            literals += 3
            after = 4
            continue
        if code < 16:
            distance = 1 + (code >> 2) + (data[at] << 2) + (0x800 if after == 4 else 0)
            length = 3 if after == 4 else 2
            at += 1
        elif code >= 64:
            distance = 1 + (code >> 2 & 7) + (data[at] << 3)
            length = (code >> 5) + 1
            at += 1
        else:
            mask = 31 if code >= 32 else 7
            length, at = _length(data, at, code & mask, mask)
            length += 2
            distance = (data[at] | data[at + 1] << 8) >> 2
            if code >= 32:
                distance += 1
            else:
                distance += (code & 8) << 11
                if not distance:  # the mark at the end of a stream
                    if at + 2 != len(data):
                        raise IndexError("data follows the end")
                    return bytes(made)
                distance += 0x4000
            code = data[at]
            at += 2
        if distance > len(made):
            raise IndexError("invalid distance")
        copy = made[-distance:]
        made += (copy * (length // distance + 1))[:length]
        literals = after = code & 3
    return bytes(made)


def _length(data: bytes, at: int, length: int, largest: int) -> tuple[int, int]:
    """Return a length from LZO1X data, and the position after the length.

    If ``length`` (the bits read so far) is 0, the length continues in the next bytes.
    """
    if length:
        return length, at
    while not data[at]:
        length += 255
        at += 1
    return length + largest + data[at], at + 1
