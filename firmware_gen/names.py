"""Names and texts that are safe to put into C: identifiers, comments, string literals."""

from __future__ import annotations

import re

from edge_lstm.errors import UsageError

# Words that C or C++ keeps for itself and that could end up as a whole identifier of the generated code.
KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """
        alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const constexpr continue decltype default
        delete do double else enum explicit export extern false float for friend goto if inline int long mutable namespace new noexcept not
        not_eq nullptr operator or or_eq private protected public register restrict return short signed sizeof static struct switch template
        this throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t while xor xor_eq
        """,
    )
)

# Headers of C, POSIX and their friends: one of the same name on the include path would stand in for them.
HEADERS = frozenset(
    re.findall(
        r"\w+",
        """
        assert complex ctype errno fenv float inttypes iso646 limits locale malloc math memory new pthread setjmp signal stdalign stdarg
        stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings tgmath threads time uchar unistd wchar wctype
        """,
    )
)


def identifier(text: str) -> str:
    """`text` as (part of) a C identifier: letters, digits and single underscores, not starting with a digit."""
    name = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", text)).strip("_")
    if not name or name[0].isdigit():
        name = f"n{name}"
    return f"{name}_" if name in KEYWORDS else name


def prefix_of(name: str, prefix: str | None) -> str:
    """The prefix of all names of a header: `prefix`, or the model's name in lower case.

    Raises UsageError for a prefix that C cannot use, or whose header would stand in for one of the C library.
    """
    if prefix is None:
        found = identifier(name.lower())
        return f"{found}_net" if found in HEADERS else found
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", prefix) or prefix in KEYWORDS:
        raise UsageError(f"the prefix {prefix!r} is no C identifier: use letters, digits and single underscores, and start with a letter")
    if prefix.lower() in HEADERS:
        raise UsageError(f"the prefix {prefix!r} would make a header {prefix}.h, which the C library has already; choose another")
    return prefix


def comment(text: str) -> str:
    """`text` on one line and unable to end a comment, to open one in it, or to form a trigraph; other than ASCII becomes an escape."""
    one_line = re.sub(r"\s", " ", text).encode("ascii", "backslashreplace").decode()
    return one_line.replace("\\", "/").replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")


def string_literal(text: str) -> str:
    """`text` as a C string literal, UTF-8 bytes outside printable ASCII as octal escapes."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\?')  # ?? could start a trigraph
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode("utf-8")) + '"'
