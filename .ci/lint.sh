#!/bin/sh
# Runs golangci-lint with the settings of .golangci.yml, and actionlint over the
# workflow files, which nothing else reads before they are on a forge. Both are
# built from source, once: golangci-lint as tools/go.mod pins it, actionlint,
# which cannot be built from the same module, as its version says. Where one
# cannot be built, as without a network, its check is skipped and says why.
set -eu
cd "$(dirname "$0")/.."
programs=${XDG_CACHE_HOME:-$HOME/.cache}/peerload-tools

# built NAME COMMAND runs a command that builds a program, and says so if it fails.
built() {
	name=$1
	shift
	said=$("$@" 2>&1) || {
		echo "$name is skipped, it cannot be built: $(echo "$said" | tail -n 1)" >&2
		return 1
	}
}

for module in tools packaging/tools packaging/containers; do
	untidy=$(go -C "$module" mod tidy -diff 2>/dev/null) || case $untidy in
	diff*)
		echo "$untidy" >&2
		exit 1
		;;
	esac
done
version=v1.7.12
has() { [ "$("$programs/actionlint" -version 2>/dev/null | head -n 1)" = "$version" ]; }
if has || built actionlint env GOBIN="$programs" go install "github.com/rhysd/actionlint/cmd/actionlint@$version"; then
	"$programs/actionlint" -shellcheck= -pyflakes= .github/workflows/*.yml
fi
if built golangci-lint go -C tools build -o "$programs/golangci-lint" \
	github.com/golangci/golangci-lint/v2/cmd/golangci-lint; then
	"$programs/golangci-lint" run ./... # with govet, which finds what go vet does
else
	go vet ./...
fi
