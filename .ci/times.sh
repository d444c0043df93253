#!/usr/bin/env bash
# Gives the files and folders of a clean clone times that follow from their content.
# The go command reuses the result of a test if the files that it has read have the
# times that they had: in another clone at the same place all of them are new, and each
# test would run again. A tree with changes is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -n "$(git status --porcelain)" ]; then
	exit 0
fi
# Folders after what is in them: its times are not theirs.
git ls-tree -r -t -z HEAD | perl -0 -ne '
	chomp;
	my ($mode, $type, $hash, $path) = /^(\d+) (\w+) (\w+)\t(.*)$/s or die "not understood: $_\n";
	my $time = 1_000_000_000 + hex(substr($hash, 0, 7));
	next if $mode eq "120000"; # a link, whose time is that of another file
	utime($time, $time, $path) or die "$path: $!\n";
'
