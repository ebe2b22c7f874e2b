#!/bin/sh
# Print the first Python that is new enough: of the names given, or else of the usual ones.
set -u

[ $# -gt 0 ] || set -- python3 python3.13 python3.12 python3.11 python3.14

found=
for name in "$@"; do
    version=$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2]); sys.exit(sys.version_info < (3, 11))' 2>/dev/null)
    status=$?
    if [ $status -eq 0 ]; then
        command -v "$name"
        exit 0
    fi
    [ -z "$version" ] || found="${found:+$found, }$name is $version"
done

if [ -n "$found" ]; then
    why="$found"
else
    why="there is no $(echo "$*" | sed 's/ / and no /g')"
fi
echo "Python 3.11 or later is needed: $why." >&2
echo "Install it (Debian, Ubuntu: apt install python3 python3-venv) or name it: make PYTHON=python3.12" >&2
exit 1
