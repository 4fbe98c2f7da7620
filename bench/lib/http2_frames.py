"""HTTP/2 frames made and read by hand, without a library, so that they can be wrong or never end."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1
INITIAL_WINDOW_SIZE = 4
CANCEL = (8).to_bytes(4, "big")
# Of the static table: how many entries it has and 1, and those that are statuses.
STATIC_ENTRIES = 62
STATUSES = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}
DIGITS = {"00000": "0", "00001": "1", "00010": "2"} | {f"{25 + digit - 3:06b}": str(digit) for digit in range(3, 10)}


def frame(kind, flags, payload, stream=1):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def packed(headers):
    """Headers as literals that are not indexed."""
    return b"".join(bytes([0, len(name)]) + name + bytes([len(value)]) + value for name, value in headers)


def greeting(window=None):
    """What a connection begins with; `window` is how much may be sent on each stream unasked."""
    setting = b"" if window is None else INITIAL_WINDOW_SIZE.to_bytes(2, "big") + window.to_bytes(4, "big")
    return PREFACE + frame(SETTINGS, 0, setting, 0)


def request_frames(stream, headers, *data, is_whole=True):
    """One request, its headers first, each piece of data in a frame of its own."""
    frames = [frame(HEADERS, END_HEADERS | (0 if data else END_STREAM), packed(headers), stream)]
    frames += [frame(DATA, END_STREAM if is_whole and piece is data[-1] else 0, piece, stream) for piece in data]
    return b"".join(frames)


def http2_request(headers, *data, is_whole=True):
    """A connection with one request."""
    return greeting() + request_frames(1, headers, *data, is_whole=is_whole)


def split_frames(received):
    """The whole frames at the start, as kind, flags, stream and payload, and what is left."""
    frames, start = [], 0
    while len(received) >= start + 9:
        end = start + 9 + int.from_bytes(received[start : start + 3], "big")
        if len(received) < end:
            break
        stream = int.from_bytes(received[start + 5 : start + 9], "big") & 0x7FFFFFFF
        frames.append((received[start + 3], received[start + 4], stream, received[start + 9 : end]))
        start = end
    return frames, received[start:]


def integer(block, start, bits):
    """An integer with so many bits in its first byte, and where it ends (RFC 7541, section 5.1)."""
    most = (1 << bits) - 1
    value, end = block[start] & most, start + 1
    if value == most:
        shift, more = 0, True
        while more:
            value += (block[end] & 0x7F) << shift
            more, shift, end = block[end] & 0x80, shift + 7, end + 1
    return value, end


def digits(text):
    """Huffman-coded digits."""
    bits, found, code = "".join(f"{byte:08b}" for byte in text), "", ""
    for bit in bits:
        code += bit
        if code in DIGITS:
            found, code = found + DIGITS[code], ""
    return found


class StatusReader:
    """Reads the statuses of one connection's responses, and of all other headers only how long they are."""

    def __init__(self):
        # The newest first: the status that an entry of the dynamic table has, if it has one.
        self.table = []

    def read(self, block):
        status, at = None, 0
        while at < len(block):
            kind = block[at]
            if kind & 0xE0 == 0x20:
                _, at = integer(block, at, 5)
                continue
            if kind & 0x80:
                index, at = integer(block, at, 7)
                value = self.known(index)
            else:
                name, at = integer(block, at, 6 if kind & 0x40 else 4)
                if not name:
                    _, at = self.text(block, at)
                text, at = self.text(block, at)
                value = int(text[:3] or 0) if name and self.known(name) else None
                if kind & 0x40:
                    self.table.insert(0, value)
            status = status or value
        return status or "?"

    def known(self, index):
        return STATUSES.get(index) if index < STATIC_ENTRIES else self.table[index - STATIC_ENTRIES]

    @staticmethod
    def text(block, at):
        """A string, if it is of digits, and where it ends."""
        is_coded = block[at] & 0x80
        length, start = integer(block, at, 7)
        piece = block[start : start + length]
        text = digits(piece) if is_coded and length <= 3 else piece.decode("latin-1")
        return text, start + length


def http2_text(received):
    """The statuses, how much data came, and what was reset."""
    parts, size, is_done = [], 0, False
    for kind, flags, _, payload in split_frames(received)[0]:
        if kind == HEADERS:
            parts.append("trailers" if parts else str(StatusReader().read(payload)))
        elif kind == DATA:
            size += len(payload)
        elif kind == RESET:
            parts.append(f"stream reset, error {int.from_bytes(payload[:4], 'big')}")
        elif kind == GOAWAY and (code := int.from_bytes(payload[4:8], "big")):
            parts.append(f"connection refused, error {code}")
        is_done = is_done or kind in (RESET, GOAWAY) or (kind in (DATA, HEADERS) and flags & END_STREAM != 0)
    return "; ".join(parts + ([f"{size} bytes"] if size else [])), is_done
