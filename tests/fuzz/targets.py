"""Every reader that is tried, by name."""

from tests.fuzz import array_targets, model_targets, picture_targets, word_targets
from tests.fuzz.harness import Target

__all__ = ["TARGETS"]

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        *array_targets.TARGETS,
        *model_targets.TARGETS,
        *picture_targets.TARGETS,
        *word_targets.TARGETS,
    )
}
