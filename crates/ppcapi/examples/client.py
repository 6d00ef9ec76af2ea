"""Reads a header from standard input and tells who the client is.

    ppserver encode --src 203.0.113.7:51820 --dst 192.0.2.1:443 --tlv alpn=h2 | python3 client.py

ctypes is all it takes; the structures are those of ppcapi.h.
"""

import ctypes
import ipaddress
import sys
from ctypes import POINTER, byref, c_int32, c_size_t, c_uint8, c_uint16, c_void_p

OK, FAMILY_INET, FAMILY_INET6, TRANSPORT_STREAM, TLV_ALPN = 0, 1, 2, 1, 1


class Decoder(ctypes.Structure):
    # Aligned to 8 bytes, as PP_ALIGNED says.
    _fields_ = [("opaque", ctypes.c_uint64 * 32)]


class Address(ctypes.Structure):
    _fields_ = [("ip", c_uint8 * 16), ("port", c_uint16)]


class Addresses(ctypes.Structure):
    _fields_ = [("family", c_uint8), ("source", Address), ("destination", Address)]


class Header(ctypes.Structure):
    _fields_ = [
        ("len", c_size_t),
        ("tlvs_offset", c_size_t),
        ("version", c_uint8),
        ("command", c_uint8),
        ("family", c_uint8),
        ("transport", c_uint8),
        ("addresses", Addresses),
    ]


class Answer(ctypes.Structure):
    _fields_ = [("need", c_size_t), ("offset", c_size_t), ("header", Header)]


class Tlvs(ctypes.Structure):
    _fields_ = [("rest", c_void_p), ("rest_len", c_size_t), ("offset", c_size_t)]


class Tlv(ctypes.Structure):
    _fields_ = [
        ("kind", c_uint8),
        ("value_status", c_int32),
        ("value", c_void_p),
        ("value_len", c_size_t),
        ("offset", c_size_t),
    ]


class Text(ctypes.Structure):
    _fields_ = [("at", c_void_p), ("len", c_size_t)]


pp = ctypes.CDLL("libppcapi.so.0")
pp.pp_status_name.restype = ctypes.c_char_p
pp.pp_finish.argtypes = [POINTER(Decoder), ctypes.c_char_p, c_size_t, POINTER(Answer)]
pp.pp_tlvs_init.argtypes = [POINTER(Tlvs), POINTER(Header), ctypes.c_char_p, c_size_t]

received = sys.stdin.buffer.read()
decoder, answer = Decoder(), Answer()
pp.pp_decoder_init(byref(decoder), None)
# All there is has come; over a socket it is pp_decode, until it no longer says PP_STATUS_NEED.
status = pp.pp_finish(byref(decoder), received, len(received), byref(answer))
if status != OK:
    sys.exit(f"refused: {pp.pp_status_name(status).decode()} at byte {answer.offset}")

header = answer.header
source = header.addresses.source
if header.transport != TRANSPORT_STREAM or header.addresses.family not in (FAMILY_INET, FAMILY_INET6):
    print("the sender itself")
    sys.exit()
ip_len = 4 if header.addresses.family == FAMILY_INET else 16
said = [f"{ipaddress.ip_address(bytes(source.ip)[:ip_len])} port {source.port}"]

# The walk points into `received`, which Python does not move.
tlvs, tlv, text = Tlvs(), Tlv(), Text()
pp.pp_tlvs_init(byref(tlvs), byref(header), received, len(received))
while pp.pp_tlvs_next(byref(tlvs), byref(tlv)) == OK:
    if tlv.kind == TLV_ALPN and pp.pp_tlv_text(byref(tlv), byref(text)) == OK:
        said.append("alpn " + ctypes.string_at(text.at, text.len).decode("ascii", "backslashreplace"))
said.append(f"{len(received) - header.len} bytes of payload")
print(", ".join(said))
