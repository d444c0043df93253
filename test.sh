#!/usr/bin/env bash
# Checks and tests everything. It needs Go and, where a program that the tests
# speak with is missing, Debian or Ubuntu with root or sudo. CONTRIBUTING.md
# tells what the tiers are for.
#
#   ./test.sh         static checks and every test
#   ./test.sh full    the same, then campaigns, fuzzing and benchmarks
#   -y                before "full": install what is missing without asking
#
# With the variable CI set it does not ask either. A step that fails does not keep
# the next ones from running: the table at the end says which failed.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
	sed -n '6,8s/^# *//p' "$0" >&2
	exit 2
}
yes=${CI:+1} full=
for word in "$@"; do
	case $word in
	-y) yes=1 ;;
	full) full=1 ;;
	*) usage ;;
	esac
done

if [ -n "$full" ]; then
	export PEERLOAD_FOREIGN_FULL=1
fi
missing=$(.ci/foreign.sh --missing)
if [ -n "$missing" ]; then
	printf 'These Debian packages are missing, and will be installed with apt-get:\n\n%s\n\n' "$missing"
	if [ -z "$yes" ] && [ -t 0 ]; then
		read -r -p 'Install them? [y/N] ' answer
		case $answer in
		[yY]*) yes=1 ;;
		esac
	fi
	if [ -z "$yes" ]; then
		echo 'Nothing is installed. Run ./test.sh -y to agree, or go test -short ./... , which needs none of them.' >&2
		exit 2
	fi
	.ci/foreign.sh
fi
export PEERLOAD_FOREIGN=1
# Tests make much and keep little: a tenth of their processor time was for garbage.
export GOGC="${GOGC:-400}"
# No path of this folder in what is compiled: so another clone need not compile it
# all again.
export GOFLAGS="${GOFLAGS:-} -trimpath"
# Vetted once, by the static checks, and not again with each kind of test.
export GOFLAGS="$GOFLAGS -vet=off"

# Each step with its seconds and its result, for the table at the end, which is also
# printed when the run is ended early.
steps=() failed=
table() {
	printf '\n| step | seconds | result |\n|---|---|---|\n'
	printf '%s\n' "${steps[@]}"
	printf '| all | %d | %s |\n' "$SECONDS" "${failed:-passed}"
}
trap table EXIT
# The go command ends a test at an interrupt as if it had failed: go on to no other.
trap 'failed="did not end"; exit 130' INT TERM
step() {
	local name=$1 began=$SECONDS result=passed
	shift
	printf '== %s\n' "$name"
	steps+=("| $name | | did not end |")
	"$@" || result=failed failed=failed
	steps[-1]="| $name | $((SECONDS - began)) | $result |"
}

checks() {
	local unformatted
	unformatted=$(gofmt -l .)
	if [ -n "$unformatted" ]; then
		printf 'not formatted with gofmt: %s\n' "$unformatted" >&2
		return 1
	fi
	go mod tidy -diff # go vet is part of the linter's step
}

# What has no goroutines, in its code and in its tests, is tested without the
# race detector: it would find nothing and take up to ten times as long.
alone='/(docs|load|report|pdp|pdp/.*|tftp/internal/slide'
alone="$alone|internal/(house|liar|live|mutate|order|pieces|policy|provision|sim|terminal|tuf|lab/units"
alone="$alone|device/(carrier|display|inbox|sharing|upgrade|wording)"
alone="$alone|controller/(api|bulk/table|diff|files/cnf|filesets|forecast|rollout|rollouts|stepping|summary"
alone="$alone|template|window)))\$"
# Nor SQLite, which is pure Go and takes six times as long with it: the same suite
# runs with it over PostgreSQL, by the same code.
alone="$alone|/internal/controller/store/sqlite$"
# These have few goroutines, and long walks over a database that is pure Go or over keys:
# all of their tests run without the race detector, and with it those that have goroutines.
walks='/(trust|internal/controller/(bulk|domain|livesite|orders|repository|services))$'
concurrent='^(TestAtTheSameTime|TestHashesAtTheSameTime|TestRun|TestFeed|TestFeedsOfOne|TestReadersWhilePublishing'
concurrent="$concurrent|TestReportsTogether|TestOrderOfAnotherReplica|TestRestart|TestStream|TestShared)\$"
# Of these it is a few tests that go through everything, on a disk that fails or over
# databases: they run without the race detector, and all others with it.
thorough='/internal/(device/(agent|slot)|controller/store/postgres)$'
throughout='^(TestConformance|TestKeepers|TestMigrations|TestFill.*|TestPagesByText|TestPowerCut.*)$'
# Whole processes run without it, and the commands and pages of a whole controller:
# what they race over is tested in their packages. With it they run in "full".
processes='/(cmd/(peerload|peerload-lab|peerload-server)|e2e/cluster|internal/controller/pages'
processes="$processes|internal/lab/(bench|idle|story|updaters))\$"
# The devices of these have to hear each other in time: nothing runs beside them.
sites='/e2e$'
# These compile programs for other processors, which takes minutes where the build
# cache is empty.
compilers='/internal/(programs|release)$'

# These take longest, and begin first among those of their kind: at the end of a kind
# one of them would run alone, on one processor of two.
longest='/(tftp|trust|cmd/peerload-server|internal/(sim|release|device/(agent|engine|relay)|lab/(bench|rounds|story)'
longest="$longest|controller/(bulk|livesite|pages|services|store/postgres|webhooks)))\$"

# select_packages prints the packages of a kind, or with -v those of none.
packages=
select_packages() { grep -E "$@" <<<"$packages"; }
list_packages() {
	local all
	all=$(go list ./...)
	packages=$(grep -E "$longest" <<<"$all" && grep -vE "$longest" <<<"$all")
}

# Nobody debugs these binaries: without debugging information they are linked sooner.
go_test() { go test -ldflags=-w -timeout 15m "$@"; }

# Of some packages only some tests: these wait for disks, databases and each other.
some_plain() {
	local failed=
	go_test -run "$throughout" $(select_packages "$thorough") || failed=1
	go_test -race -run "$concurrent" $(select_packages "$walks") || failed=1
	[ -z "$failed" ]
}
throughout_with_race() { go_test -race -run "$throughout" $(select_packages "$thorough"); }
some_with_race() { go_test -race -skip "$throughout" $(select_packages "$thorough"); }

# beside JOB COMMAND... runs a job beside a command, since one waits while the other
# computes, and prints what it said after that.
beside() {
	local job=$1 failed= said id
	shift
	said=$(mktemp)
	"$job" >"$said" 2>&1 &
	id=$! # the command may run jobs of its own
	"$@" || failed=1
	wait "$id" || failed=1
	cat "$said"
	rm "$said"
	[ -z "$failed" ]
}

# All packages, also when one of them fails.
tests() {
	local failed=
	beside some_plain go_test $(select_packages "$alone|$walks|$compilers") || failed=1
	# Many of these wait more than they compute: so more of them at a time.
	beside some_with_race \
		go_test -race -p 3 $(select_packages -v "$alone|$walks|$thorough|$processes|$sites|$compilers") || failed=1
	go_test $(select_packages "$sites") || failed=1
	go_test -p 4 $(select_packages "$processes") || failed=1
	[ -z "$failed" ]
}

# It only computes, and tests wait a lot: they go first.
lint() { nice -n 19 .ci/lint.sh; }

# Of the packages that have benchmarks: the go command would link the tests of all
# others, too, and find nothing in them.
benchmarks() {
	# shellcheck disable=SC2046 # a list of folders
	PEERLOAD_FLEET=5000 go test -timeout 20m -run '^$' -bench . -benchtime 1x \
		$(grep -rl --include='*_test.go' '^func Benchmark' . | xargs -n 1 dirname | sort -u)
}

step 'static checks' checks
list_packages
step 'tests, and the linter beside them' beside lint tests
# All of it must fit into an hour on two processors that do nothing else: docs/RESULTS.md
# has the minutes of each step. What has to be longer has a command of its own in
# CONTRIBUTING.md.
releases() { nice -n 19 go test -timeout 30m -p 2 ./internal/packaging ./internal/release ./internal/programs; }
fuzzing() { nice -n 19 go run ./internal/fuzzing -time 1s -parallel 2 ./...; }
power_cuts() { nice -n 19 go run ./internal/powercut; }
if [ -n "$full" ]; then
	export PEERLOAD_FULL=1
	# These wait more than they compute, and compiling goes last: they run side by side.
	step 'clusters, and an idle site; a release, and packages in a Debian and by rpm' \
		beside releases go test -timeout 15m -p 2 ./internal/lab/idle ./e2e/cluster
	# An updater waits for its machine, power cuts for the disk: a fifth and a third of a
	# processor's time.
	step "other people's updaters; fuzzing, 1 s each target" \
		beside fuzzing go test -timeout 15m ./internal/lab/updaters
	# Sixty agents under the race detector would hear each other too late to share, and a
	# browser's page would be too late for its test.
	step 'a rollout, and its page in a browser' go test -timeout 15m ./e2e -run '^(TestRollout|TestLivePage)$'
	# Nothing runs beside those that have to hear each other in time, nor many of them at once.
	# What is about file systems takes minutes, and is one device at a time; what one device
	# races over beside a server that fails, six do too.
	step 'whole devices under the race detector' go test -race -timeout 20m -parallel 3 ./e2e \
		-skip '^(TestRollout|TestLivePage|TestFileSystems)$|^Test(FaultyOrigin|FalseSize)$/_1_devices'
	step 'commands, and what goes through everything, under the race detector' \
		beside throughout_with_race go test -race -timeout 20m ./cmd/peerload ./cmd/peerload-lab
	# shellcheck disable=SC2046 # a list of packages
	step 'what the controller does, under the race detector' \
		go test -race -short -timeout 20m $(select_packages "$walks|/internal/controller/(api|filesets|rollouts)$")
	step 'pages in a browser; power cuts' beside power_cuts go test -timeout 15m ./internal/controller/pages
	step "the device's page in a browser" go test ./internal/device/agent -run PageLooks
	step "the demo's page in a browser" go test ./internal/lab/demo -run InBrowser
	# Anew each time: the go command does not see there that the controller has changed.
	step 'image and its examples' go -C packaging/containers test -count=1 -timeout 15m ./...
	step 'random sites, 10,000' go run ./cmd/peerload-lab sim --seed 10001 --runs 10000
	step 'random upgrades, 15,000' \
		env PEERLOAD_UPGRADE_RUNS=15000 go test -timeout 30m ./internal/device/upgrade -run RandomDevices
	step 'random faults, 50 agents, 10 rounds' go run ./cmd/peerload-lab rounds --devices 50 --rounds 10
	step 'a controller with 20,000 devices' go run ./internal/fleet -devices 20000 -for 10s -calls 20
	step 'short comparison with other ways' \
		env PEERLOAD_BENCH=1 go test -timeout 15m ./cmd/peerload-lab -run BenchCompareShort -v
	step 'benchmarks, with 5,000 devices' benchmarks
	step 'figures, one run each' go run ./cmd/peerload-lab bench --runs 1
fi
[ -z "$failed" ]
