"""Seven areas of the standard library, by the first piece of a module's name."""

from __future__ import annotations

from collections.abc import Mapping

AREAS: Mapping[str, frozenset[str]] = {
    group: frozenset(words.split())
    for group, words in {
        "text": (
            "_markupbase argparse codecs configparser csv difflib encodings getopt gettext html "
            "json locale optparse plistlib pprint re reprlib shlex sre_compile sre_parse string "
            "stringprep textwrap tomllib xml"
        ),
        "network": (
            "asynchat asyncore cgi email ftplib http imaplib ipaddress mailbox nntplib poplib "
            "smtpd smtplib socket socketserver ssl telnetlib urllib webbrowser wsgiref xmlrpc"
        ),
        "files": (
            "_compression _pyio aifc bz2 chunk compression dbm filecmp fileinput fnmatch "
            "genericpath glob gzip io lzma mimetypes ntpath os pathlib pickle pickletools "
            "posixpath shelve shutil sqlite3 stat sunau tarfile tempfile wave zipapp zipfile"
        ),
        "numbers": (
            "_pydatetime _pydecimal _strptime bisect calendar colorsys datetime decimal "
            "fractions hashlib heapq hmac numbers random secrets statistics time uuid zoneinfo"
        ),
        "concurrency": (
            "_threading_local asyncio concurrent contextvars multiprocessing queue sched "
            "selectors signal subprocess threading"
        ),
        "language": (
            "_collections_abc _py_abc abc annotationlib ast code codeop collections compileall "
            "contextlib copy copyreg ctypes dataclasses dis enum functools imp importlib "
            "inspect keyword modulefinder opcode operator pkgutil py_compile pyclbr runpy "
            "symtable sysconfig tabnanny token tokenize types typing weakref zipimport"
        ),
        "debugging": (
            "bdb cProfile cgitb cmd doctest faulthandler linecache logging pdb profile pstats "
            "pydoc timeit trace traceback tracemalloc unittest warnings"
        ),
    }.items()
}
"""The modules and packages of each area; one that is in none has no label."""


def area_of(module: str) -> str | None:
    """Return the area of a module, or None."""
    head = module.partition(".")[0]
    return next((area for area, heads in AREAS.items() if head in heads), None)
