"""PDF files to read, made by hand."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Collection, Sequence

ENCRYPTED = zlib.decompress(
    base64.b85decode(
        "c-oCqziSjh6b{%8*4ERUozCx>U04qC>rhk@FHsQ@ot+=a%DEe6=OnSVuo5iN3RXfatgJ09MJ&|T*x33PID2<V4laeeQ_Ozv``-KB"
        "<85zqZE%HLWuW)#_{%pyAcjr(1QZ28+Xs6NqE#LBsM!H%Q}4JI(nJ`7ejm8nc0{@$nD79)QP~zgfUM)ghXAcM<2phzCuQeKyF$Sw"
        ">a-HN<!q%_n*Edur&kgRRZgcF>zIfw<WuI*waqw~WU|XRNYUwqKyhMvdS><cT>YD_-if=Avo7Ao;Pg}Q`sMqJ-#@*5_3`NP_V43+"
        "c<INVLms}q`+4cZ(&OsQ@{923^U;OF+u`s1F6B%$OD-0g>kI+3H7?`ivjYi0E4p<PtLT~=J#(=#dd{Mp&r-#agGC>p<#F6?0xSqq"
        "A|3B?Vi}unP0i`<rlF%Dq-RayG-JqV&U2|~o&tkv6kUL5E9%<nU;)~I1?AjRgEjHm3aXeBT5!x6@nwm9=CNQzSjD`_amkIc${H%P"
        "7e;YHc=Chpz@jvoC@-n=%uqsv!@8uok}{(#FR36UCXT0jZi%EOGlUYO4KKA+xfSJnSNp+vfMEvk=>w$@Oh6A$F_I=fiPUG9<O>*~"
        "YynGd7BI#awVa%TDSU>-psSG!lksm=&t0;NhE0>!f4ZsHYu`XQyRW6qE@<hU<T=fxCAQQVanv%aNgAnCrS|>*p`?Fey*A-sFG6*)"
        "@om&0P6j744tl-yjRE)vdm$0I"
    )
)
"""A file of one page that opens with a password, made by pypdf."""


def make_pdf(texts: Sequence[str], *, title: str = "", bad: Collection[int] = ()) -> bytes:
    """A file of a page for each text; those whose numbers are `bad` are not in it."""
    info = b"<< /Title (%s) /Author (A. Reed) /CreationDate (D:20260102030405Z) >>" % title.encode()
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    objects, kids = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", font, info], []
    for number, text in enumerate(texts):
        if number in bad:
            kids.append(b"999 0 R")
            continue
        lines = b" T* ".join(b"(%s) Tj" % line.encode() for line in text.split("\n"))
        stream = b"BT /F1 12 Tf 14 TL 72 720 Td %s ET" % lines
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        looks = b"/MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >>"
        objects.append(b"<< /Type /Page /Parent 2 0 R /Contents %d 0 R %s >>" % (len(objects), looks))
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    out, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(b"%010d 00000 n \n" % len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, b"".join(places))
    end = b"trailer\n<< /Size %d /Root 1 0 R /Info 4 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    return out + table + end % (len(objects) + 1, len(out))
