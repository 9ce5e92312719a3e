"""What is said of references: where each stands, and what a render would make of them."""

from __future__ import annotations

from mattebox_desktop.model.edit_request import regions_without_first, used_references
from mattebox_desktop.model.method_choice import AUTO, DEFAULT_METHOD, Known, KnownMethod, choose, runs_on
from mattebox_desktop.model.project import Project
from mattebox_desktop.model.reference import Reference
from mattebox_desktop.ui.timecode import timecode


def place_words(project: Project, reference: Reference) -> str:
    """Frame and time, and on a second line what is noteworthy."""
    clip = project.clip
    words = f"frame {reference.frame}"
    if clip is not None:
        words += f" · {timecode(reference.frame, clip.frame_rate)}"
    if not reference.region.visible:
        return f"{words}\nits region is hidden"
    if not project.in_point <= reference.frame < project.out_point:
        return f"{words}\noutside in and out"
    return words if reference.picture.edited else f"{words}\nnot edited yet"


def chosen_method(project: Project, known: Known) -> KnownMethod | None:
    """The method that would render now."""
    used = bool(used_references(project))
    return known.method(choose(project.method, project.backbone, known, with_references=used).method)


def auto_helps(project: Project, known: Known) -> bool:
    """References would be left unused, and "auto" would use them."""
    method = chosen_method(project, known)
    if project.method == AUTO or known.for_references is None or method is None:
        return False
    return bool(used_references(project)) and not method.takes_references


def note(project: Project, known: Known) -> str:
    """What a render would make of the references, where that is not plain; one sentence, or none."""
    if not used_references(project) or not known.methods:
        return ""
    choice = choose(project.method, project.backbone, known, with_references=True)
    method = known.method(choice.method)
    if method is None:
        return ""
    if not method.takes_references and known.for_references is None:
        return "This version of the backend has no method that takes references."
    if not method.takes_references:
        return f"{method.title} works from prompts alone: it would leave the references unused."
    if not runs_on(method, choice.backbone, known):
        return f"{method.title} takes them, but there is no model here that it runs on."
    for reference in regions_without_first(project):
        name, frame = reference.region.name, project.in_point
        return f"“{name}” needs a reference at the in point too: it is carried on from frame {frame}."
    if project.method == AUTO and choice.backbone != project.backbone:
        return (
            f"Auto renders with {method.title} on {choice.backbone}: {project.backbone} takes no references."
        )
    return ""


def auto_words(project: Project, known: Known) -> str:
    """What "Auto" stands for now, for the list of methods."""
    used = bool(used_references(project))
    chosen = choose(AUTO, project.backbone, known, with_references=used).method
    return "Auto: layout" if chosen == DEFAULT_METHOD else "Auto: references"
