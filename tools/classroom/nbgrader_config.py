"""nbgrader's settings for the course. `make assignments` copies this file into the classroom's folder; change it there.

Each line says what it is for; docs/teachers.md of the checkout says more.
"""

import os

from jupyter_core.utils import run_sync
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_output
from nbgrader.converters import Autograde
from nbgrader.preprocessors import ClearOutput, Execute, LimitOutput

SECONDS = 300  # a cell. nbgrader's own 30 are too short for a lesson's live training on a busy machine
CHARACTERS = 20_000  # printed by a cell; what is more is counted, and not kept

LATE = f"This cell had no answer after {SECONDS} seconds, and was stopped. Is there a loop that never ends?"
DIED = (
    "The kernel died in this cell, which happens when it takes more memory than there is. "
    "It was started again, so that the other exercises could be graded; what came before this cell had to be left out."
)


class Patient(Execute):
    """Execute, and go on: a kernel that dies or no longer listens is started anew, and the other exercises get grades.

    nbgrader's own gives up on such a submission, and its author would have no grade at all.
    """

    def preprocess_cell(self, cell, resources, index):
        try:
            return super().preprocess_cell(cell, resources, index)
        except DeadKernelError:
            said = DIED
        except CellTimeoutError:  # it was interrupted, and does not listen
            said = LATE
        cell.outputs.append(new_output("error", ename="Stopped", evalue="", traceback=[said]))
        run_sync(self.km.restart_kernel)(now=True)
        run_sync(self.kc.wait_for_ready)(timeout=120)
        first = next(i for i, c in enumerate(self.nb.cells) if c.cell_type == "code")
        if first < index:  # what the lesson imports
            super().preprocess_cell(self.nb.cells[first], resources, first)
        return cell, resources


class Short(LimitOutput):
    """LimitOutput counts lines, and one line can have megabytes."""

    def preprocess_cell(self, cell, resources, index):
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and len(output.text) > CHARACTERS:
                more = len(output.text) - CHARACTERS
                output.text = f"{output.text[:CHARACTERS]}\n… and {more:,} more characters, which are not kept.\n"
        return super().preprocess_cell(cell, resources, index)


c = get_config()  # noqa: F821  jupyter hands it in

c.CourseDirectory.course_id = "minimagen"

c.Execute.timeout = SECONDS
c.Execute.iopub_timeout = 30  # for what is still to be shown when a cell has ended
c.Execute.error_on_timeout = {"ename": "CellTimeoutError", "evalue": "", "traceback": [LATE]}
c.Execute.skip_cells_with_tag = ""  # a check that is not run has no output, and nbgrader takes that for right

instead = {Execute: Patient, LimitOutput: Short}
c.Autograde.autograde_preprocessors = [instead.get(t, t) for t in Autograde.autograde_preprocessors.default()]
if os.environ.get("EXECUTED"):  # grade.sh: they ran in containers; only the points are still to be read
    c.CourseDirectory.submitted_directory = "executed"
    c.Autograde.sanitize_preprocessors = [t for t in Autograde.sanitize_preprocessors.default() if t is not ClearOutput]
    c.Autograde.autograde_preprocessors.remove(Patient)

c.OverwriteCells.add_missing_cells = True  # a check that was deleted comes back, and is graded
c.LimitOutput.max_lines = 200
c.GenerateFeedback.force = True  # a second grading replaces the first one's feedback
