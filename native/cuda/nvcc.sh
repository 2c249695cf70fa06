#!/bin/sh
# Runs nvcc and keeps what ptxas reports (registers, spills), and the block sizes, beside the object.
# nvcc.sh OBJECT COMMAND…
object=$1
shift
kept=$object.kept
rm -rf "$kept" && mkdir "$kept" || exit 1
"$@" -keep -keep-dir "$kept" -o "$object" 2> "$kept/log"
status=$?
grep -v '^ptxas info\|bytes stack frame' "$kept/log" >&2
if [ $status -eq 0 ]; then
  { grep '^ptxas info\|bytes stack frame' "$kept/log"; cat "$kept"/*.ptx | grep -o '\.entry [^(]*\|\.maxntid [0-9]*'; } > "$object.ptxas"
fi
rm -rf "$kept"
exit $status
