"""What people do in the playhouse: the actions, their opposites and their wordings.

An action is named by its label ("open door"). The seen wordings may appear in every split; the held-back
wordings are paraphrases that appear only in val and test, so that a sentence encoder has to bridge them.
Times are in seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Action:
    """One kind of deed.

    Attributes:
        label: short name, the entry in `labels` of an annotation file.
        shortest, longest: bounds of the duration in seconds.
        seen: sentences for every split.
        held_back: sentences for val and test only.
        opposite: label of the action that differs in the direction of time only, or None.
    """

    label: str
    shortest: float
    longest: float
    seen: tuple[str, ...]
    held_back: tuple[str, ...]
    opposite: str | None = None


_ACTIONS = (
    Action(
        "open door",
        2.4,
        5.0,
        (
            "person opens door",
            "a person opens the door",
            "person opens the door",
            "someone is opening a door",
            "the person opens up the door",
            "a person is opening the door",
        ),
        ("somebody pulls the door open", "the doorway gets unblocked as somebody swings the door wide"),
        "close door",
    ),
    Action(
        "close door",
        2.4,
        5.0,
        (
            "person closes door",
            "a person closes the door",
            "person closes the door",
            "someone is closing a door",
            "the person closes up the door",
            "a person is closing the door",
        ),
        ("somebody pushes the door shut", "the door is being shut by somebody"),
        "open door",
    ),
    Action(
        "walk through door",
        3.0,
        5.0,
        (
            "person walks through the door",
            "a person walks through the doorway",
            "someone is walking through a door",
            "the person goes through the door",
            "a person passes through a doorway",
        ),
        ("somebody crosses the threshold", "somebody steps through the open entrance"),
    ),
    Action(
        "sit down",
        2.0,
        4.5,
        (
            "person sits down in a chair",
            "a person sits down on the chair",
            "someone is sitting down in a chair",
            "the person sits down on a chair",
            "a person sits in the chair",
        ),
        ("somebody takes a seat", "somebody lowers themselves onto the chair"),
        "stand up",
    ),
    Action(
        "stand up",
        2.0,
        4.5,
        (
            "person stands up from a chair",
            "a person stands up from the chair",
            "someone is standing up from a chair",
            "the person stands up",
            "a person gets up from the chair",
        ),
        ("somebody rises from the seat", "somebody gets to their feet and leaves the seat"),
        "sit down",
    ),
    Action(
        "drink",
        3.5,
        8.5,
        (
            "person drinks from a cup",
            "a person drinks from the cup",
            "someone is drinking from a cup",
            "the person takes a drink from a cup",
            "a person is drinking out of a cup",
        ),
        ("somebody sips from a mug", "somebody is having a beverage"),
    ),
    Action(
        "put down cup",
        2.2,
        4.5,
        (
            "person puts a cup on the table",
            "a person puts the cup down on the table",
            "someone is putting a cup on a table",
            "the person puts the cup on the table",
            "a person puts down a cup",
        ),
        ("somebody sets a mug on the tabletop", "a mug is placed back on the desk"),
        "take cup",
    ),
    Action(
        "take cup",
        2.2,
        4.5,
        (
            "person takes a cup from the table",
            "a person takes the cup from the table",
            "someone is taking a cup from a table",
            "the person takes a cup off the table",
            "a person picks up a cup",
        ),
        ("somebody grabs a mug off the tabletop", "a mug is lifted from the desk"),
        "put down cup",
    ),
    Action(
        "turn on light",
        2.2,
        4.5,
        (
            "person turns on the light",
            "a person turns on a light",
            "someone is turning the light on",
            "the person turns the lamp on",
            "a person turns on the lamp",
        ),
        ("somebody switches on a lamp", "somebody lights up the room"),
        "turn off light",
    ),
    Action(
        "turn off light",
        2.2,
        4.5,
        (
            "person turns off the light",
            "a person turns off a light",
            "someone is turning the light off",
            "the person turns the lamp off",
            "a person turns off the lamp",
        ),
        ("somebody switches off a lamp", "somebody makes the room go dark"),
        "turn on light",
    ),
    Action(
        "throw ball",
        2.2,
        4.0,
        (
            "person throws a ball",
            "a person throws the ball",
            "someone is throwing a ball",
            "the person throws a ball across the room",
            "a person throws a ball on the floor",
        ),
        ("somebody tosses a ball", "somebody hurls the ball away"),
    ),
    Action(
        "pick up ball",
        2.2,
        4.5,
        (
            "person picks up a ball",
            "a person picks up the ball",
            "someone is picking up a ball",
            "the person picks a ball up from the floor",
            "a person takes the ball from the floor",
        ),
        ("somebody bends down and grabs the ball", "somebody lifts a ball off the ground"),
    ),
    Action(
        "pick up bag",
        2.2,
        4.5,
        (
            "person picks up a bag",
            "a person picks up the bag",
            "someone is picking up a bag",
            "the person picks a bag up from the floor",
            "a person takes the bag from the floor",
        ),
        ("somebody lifts a handbag off the ground", "somebody bends over and grabs the bag"),
        "put down bag",
    ),
    Action(
        "put down bag",
        2.2,
        4.5,
        (
            "person puts down a bag",
            "a person puts down the bag",
            "someone is putting down a bag",
            "the person puts a bag on the floor",
            "a person puts the bag on the floor",
        ),
        ("somebody sets a handbag on the ground", "somebody drops off the bag they were carrying"),
        "pick up bag",
    ),
    Action(
        "open book",
        2.4,
        5.5,
        (
            "person opens a book",
            "a person opens the book",
            "someone is opening a book",
            "the person opens up a book",
            "a person opens a book and looks inside",
        ),
        ("somebody begins reading a novel", "somebody unfolds the pages of a book"),
        "close book",
    ),
    Action(
        "close book",
        2.4,
        5.5,
        (
            "person closes a book",
            "a person closes the book",
            "someone is closing a book",
            "the person closes up a book",
            "a person closes the book they were reading",
        ),
        ("somebody stops reading a novel", "somebody shuts the pages of a book"),
        "open book",
    ),
    Action(
        "open window",
        2.4,
        5.5,
        (
            "person opens a window",
            "a person opens the window",
            "someone is opening a window",
            "the person opens the window",
            "person opens the window",
        ),
        ("somebody lets in fresh air", "somebody pulls the casement open"),
        "close window",
    ),
    Action(
        "close window",
        2.4,
        5.5,
        (
            "person closes a window",
            "a person closes the window",
            "someone is closing a window",
            "the person closes the window",
            "person closes the window",
        ),
        ("somebody shuts out the fresh air", "somebody pushes the casement shut"),
        "open window",
    ),
    Action(
        "lie down",
        3.0,
        6.0,
        (
            "person lies down on the sofa",
            "a person lies down on a sofa",
            "someone is lying down on the sofa",
            "the person lies down on the couch",
            "a person lays down on the sofa",
        ),
        ("somebody stretches out on the couch for a rest", "somebody reclines on the settee"),
        "get up",
    ),
    Action(
        "get up",
        3.0,
        6.0,
        (
            "person gets up from the sofa",
            "a person gets up from a sofa",
            "someone is getting up from the sofa",
            "the person gets up from the couch",
            "a person gets up off the sofa",
        ),
        ("somebody wakes up and leaves the couch", "somebody ends their rest on the settee"),
        "lie down",
    ),
)

ACTIONS: Mapping[str, Action] = {action.label: action for action in _ACTIONS}
"""Every action by its label."""

LABELS: tuple[str, ...] = tuple(ACTIONS)

OPPOSITES: Mapping[str, str] = {a.label: a.opposite for a in _ACTIONS if a.opposite is not None}
"""Label of the action that looks like this one played backwards, both ways round."""
