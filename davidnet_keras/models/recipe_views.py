"""How a recipe's finished model looks at test pictures."""

from davidnet_keras.models.averaged_views import TestTimeAugmentation

# A recipe's test_views -> (arguments of TestTimeAugmentation, or None for the model as it is, number of views).
VIEWS = {"one": (None, 1), "mirror": ({"mirror": True}, 2), "mirror_and_shifts": ({"mirror": True, "shifts": 1}, 6)}


def with_views(model, test_views):
    """(the model that looks at each picture as often as the recipe says, how often that is)."""
    arguments, views = VIEWS[test_views]
    return (model if arguments is None else TestTimeAugmentation(model, **arguments)), views
