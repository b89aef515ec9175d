#!/usr/bin/env python3
"""Writes model/text/html_entities.inc: HTML5's named characters, as Python's html.entities has them from the standard.

    scripts/html_entities.py model/text/html_entities.inc
"""
import html.entities
import sys

# Without "&"; those without ";" are the few that HTML takes without it. Sorted by bytes.
entries = ['{"%s", U"%s"},' % (name, "".join(f"\\U{ord(c):08x}" for c in text))
           for name, text in sorted(html.entities.html5.items())]
with open(sys.argv[1], "w", encoding="ascii") as file:
    file.write("// Made by scripts/html_entities.py.\n// clang-format off\n" + "\n".join(entries) + "\n")
