"""Which concepts come first: subgroups in Unicode's order, and an order from familiar things to abstract signs."""

from collections.abc import Sequence

from img2img_jax.data.emoji_sources import Concept

# Name of the first emoji of each subgroup of Unicode's emoji-test.txt, in its order.
_SUBGROUP_STARTS = {
    "grinning face": "face",
    "grinning cat": "cat-face",
    "see-no-evil monkey": "monkey-face",
    "love letter": "heart",
    "kiss mark": "emotion",
    "waving hand": "hand",
    "flexed biceps": "body-parts",
    "baby": "person",
    "person frowning": "person-gesture",
    "health worker": "person-role",
    "baby angel": "person-fantasy",
    "person getting massage": "person-activity",
    "person in lotus position": "person-resting",
    "people holding hands": "family",
    "speaking head": "person-symbol",
    "monkey face": "animal-mammal",
    "turkey": "animal-bird",
    "frog": "animal-amphibian",
    "crocodile": "animal-reptile",
    "spouting whale": "animal-marine",
    "snail": "animal-bug",
    "bouquet": "plant-flower",
    "seedling": "plant-other",
    "grapes": "food-fruit",
    "avocado": "food-vegetable",
    "bread": "food-prepared",
    "bento box": "food-asian",
    "soft ice cream": "food-sweet",
    "baby bottle": "drink",
    "chopsticks": "dishware",
    "globe showing Europe-Africa": "place-map",
    "snow-capped mountain": "place-geographic",
    "stadium": "place-building",
    "church": "place-religious",
    "fountain": "place-other",
    "locomotive": "transport-ground",
    "sailboat": "transport-water",
    "airplane": "transport-air",
    "bellhop bell": "hotel",
    "hourglass done": "time",
    "new moon": "sky & weather",
    "jack-o-lantern": "event",
    "military medal": "award-medal",
    "soccer ball": "sport",
    "bullseye": "game",
    "performing arts": "arts & crafts",
    "glasses": "clothing",
    "muted speaker": "sound",
    "musical score": "music",
    "saxophone": "musical-instrument",
    "mobile phone": "phone",
    "battery": "computer",
    "movie camera": "light & video",
    "notebook with decorative cover": "book-paper",
    "coin": "money",
    "envelope": "mail",
    "pencil": "writing",
    "briefcase": "office",
    "locked": "lock",
    "hammer": "tool",
    "alembic": "science",
    "syringe": "medical",
    "door": "household",
    "cigarette": "other-object",
    "ATM sign": "symbol",
    "chequered flag": "flag",
}

FAMILIAR = tuple(
    """
    red apple; banana; strawberry; grapes; lemon; watermelon; cherries; pear; pineapple; tomato; carrot; pizza;
    hamburger; doughnut; birthday cake; soft ice cream; cookie; hot beverage; mushroom; egg; bread; green apple;
    cat; dog; fish; bird; elephant; rabbit; horse; cow; pig; duck; owl; turtle; butterfly; lady beetle; frog; bear;
    tiger; whale; octopus; penguin; snail; snake; honeybee; chicken; tropical fish; fox; lion; panda; cat face;
    dog face; deciduous tree; evergreen tree; tulip; sunflower; rose; cactus; four leaf clover; maple leaf;
    house; automobile; bus; bicycle; airplane; rocket; sailboat; locomotive; delivery truck; helicopter; tractor;
    star; sun; crescent moon; rainbow; cloud; umbrella; fire; snowman; balloon; wrapped gift; red heart; crown;
    soccer ball; basketball; t-shirt; dress; running shoe; top hat; glasses; handbag; backpack; key; locked; bell;
    light bulb; candle; orange book; envelope; pencil; scissors; hammer; mobile phone; laptop; camera; television;
    alarm clock; guitar; trumpet; drum; chair; bed; door; teddy bear; jack-o-lantern; Christmas tree; castle;
    gem stone; magnet; microscope; bucket; grinning face; robot; ghost; skull
    """.replace("\n", " ").split(";")
)

_GROUP_ORDER = (
    "Food & Drink",
    "Animals & Nature",
    "Objects",
    "Activities",
    "Travel & Places",
    "Smileys & Emotion",
    "People & Body",
    "Flags",
    "Symbols",
)


def subgroups(concepts: Sequence[Concept]) -> dict[str, str]:
    """Concept id -> subgroup, for concepts in Unicode's order."""
    found, current = {}, "other"
    for concept in concepts:
        current = _SUBGROUP_STARTS.get(concept.name, current)
        found[concept.id] = current
    return found


def concept_ranks(concepts: Sequence[Concept]) -> dict[str, int]:
    """Concept id -> place in the order of familiarity, 0 first.

    First come some 130 things that a child draws, from all groups; then food, animals and plants, objects,
    travel, faces, people, flags; signs last. The order decides what a model of few concepts is trained on.
    """
    familiar = {name.strip(): place for place, name in enumerate(FAMILIAR)}

    def place(concept: Concept) -> tuple:
        group = _GROUP_ORDER.index(concept.group) if concept.group in _GROUP_ORDER else len(_GROUP_ORDER)
        return familiar.get(concept.name, len(familiar)), group, concept.order

    return {concept.id: rank for rank, concept in enumerate(sorted(concepts, key=place))}
