# The loop that tools/mutants and tools/seeds share; they source it from the repository's root.
#
#   begin_mutations run|check [ONLY]      ONLY: skip mutations whose description does not contain it
#   mutate_file RUN WHAT FILE FROM TO     replaces FROM, which FILE must contain once, by TO and calls RUN in a copy
#   end_mutations                         fails if a mutation survived, or if a place was not found
#
# RUN is a function or command that is called with the copy's folder; a mutation is caught if RUN fails. The script that
# sources this defines `caught_by`, which reads RUN's output and prints the names of the tests that failed. If no test
# program began, the mutation is not caught: RUN must build without a time limit.
# MUTATIONS_PART=1 or 2 runs every other mutation only.
# Mode `check` builds nothing and copies nothing: it only verifies that each FROM is in its FILE exactly once.

begin_mutations() {
  mode=$1 only=${2:-} copy=. places=0 survivors=0 misplaced=0
  [ "$mode" = run ] || return 0
  copy=$(mktemp -d)
  trap 'rm -rf "$copy"' EXIT
  git ls-files -z | xargs -0 cp --parents -t "$copy"
}

# is_there_once FILE FROM: prints what is wrong, if anything.
is_there_once() {
  [ -f "$1" ] || { echo "there is no such file"; return 1; }
  FROM=$2 perl -0ne 'my $n = () = /\Q$ENV{FROM}\E/g; if ($n != 1) { print "the text is there $n times\n"; exit 1 }' "$1"
}

mutate_file() {
  local run=$1 what=$2 file="$copy/$3" from=$4 to=$5 out problem verdict status=0
  [[ $what == *"$only"* ]] || return 0
  places=$((places + 1))
  [ -z "${MUTATIONS_PART:-}" ] || [ $((places % 2)) = $((MUTATIONS_PART % 2)) ] || return 0
  if ! problem=$(is_there_once "$file" "$from"); then
    printf 'cannot mutate: %s (%s): %s:\n%s\n' "$what" "$3" "$problem" "$from" >&2
    misplaced=$((misplaced + 1))
    return 0
  fi
  [ "$mode" = run ] || return 0
  cp "$file" "$file.whole"
  FROM=$from TO=$to perl -0pi -e 's/\Q$ENV{FROM}\E/$ENV{TO}/' "$file"
  out=$("$run" "$copy" 2>&1) || status=$?
  mv "$file.whole" "$file"
  # Cargo compares times: the file must be newer than what was built of its mutation.
  touch "$file"
  if [ "$status" = 0 ]; then
    verdict="NOT CAUGHT"
    survivors=$((survivors + 1))
  elif grep -q 'could not compile' <<<"$out"; then
    grep -A6 '^error' <<<"$out" >&2
    echo "does not compile: $what" >&2
    exit 1
  elif ! grep -qa '^running [0-9]* test' <<<"$out"; then
    tail -n 20 <<<"$out" >&2
    verdict="NOT CAUGHT (no test ran, status $status)"
    survivors=$((survivors + 1))
  else
    verdict=$(caught_by <<<"$out" | head -n 2 | paste -sd, | sed 's/,/, /') || true
    [ -n "$verdict" ] || verdict="(no test failed, status $status)"
  fi
  printf '%-58s %s\n' "$what" "$verdict"
}

end_mutations() {
  if [ "$misplaced" -gt 0 ]; then
    echo "$misplaced of $places mutations: the text to replace is not in its file exactly once" >&2
    exit 1
  fi
  if [ "$mode" = check ]; then
    echo "$places mutations: each text to replace is in its file exactly once"
  elif [ "$survivors" -gt 0 ]; then
    echo "$survivors mutations were not caught" >&2
    exit 1
  fi
}
