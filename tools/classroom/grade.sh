#!/bin/sh
# Grade an assignment, each submission in a container of its own:   ./grade.sh 01_forward_noise
#
# A container sees one submission, under no name, and a gradebook without learners (blank.db). It has no network, and
# what it writes is thrown away but for the notebook that it ran. The points are then read from that notebook, outside,
# running nothing.
# ENGINE=podman takes another engine. To grade somebody again, remove executed/STUDENT/ASSIGNMENT, and add --force.
set -eu
lesson=${1:?name an assignment, such as 01_forward_noise}
shift
cd "$(dirname "$0")"
engine=${ENGINE:-docker}
mine=""
case "$engine" in *podman*) mine=--userns=keep-id ;; esac # else it takes us for another, who may not read the room
python - <<'END' # as it is today, with the questions and numbers of today
import shutil
from nbgrader.api import Gradebook
shutil.copyfile("gradebook.db", "blank.db")
with Gradebook("sqlite:///blank.db", "minimagen") as book:
    for student in book.students:
        book.remove_student(student.id)
END
failed=""
for handed_in in submitted/*/"$lesson"; do
  student=$(basename "$(dirname "$handed_in")")
  [ ! -e "executed/$student/$lesson" ] || continue
  room=$(mktemp -d)
  mkdir -p "$room/submitted/someone" "$room/source/$lesson"
  cp nbgrader_config.py "$room/"
  cp blank.db "$room/gradebook.db"
  cp -r "$handed_in" "$room/submitted/someone/"
  "$engine" run --rm $mine --network none --memory 4g --memory-swap 4g --cpus 2 --pids-limit 256 \
    --cap-drop ALL --security-opt no-new-privileges --read-only --tmpfs /tmp --tmpfs /home/grader \
    --user "$(id -u):$(id -g)" --env HOME=/home/grader --env HF_HUB_OFFLINE=1 --volume "$room:/class:Z" \
    grader timeout 3600 nbgrader autograde "$lesson" || failed="$failed $student"
  if [ -d "$room/autograded/someone/$lesson" ]; then
    mkdir -p "executed/$student"
    cp -r "$room/autograded/someone/$lesson" "executed/$student/"
  fi
  rm -rf "$room"
done
EXECUTED=1 nbgrader autograde "$lesson" "$@"
if [ -n "$failed" ]; then
  echo "These have no grade, for their container ended before they did:$failed" >&2
  exit 1
fi
