"""river models as rankers, ours as river models, its ADWIN on live losses.

The only place that imports `river <https://riverml.xyz>`_, which is optional: install
``streamer[river]``.
"""

try:
    import river as river
except ImportError as error:
    raise ImportError(
        "river is not installed, and this part is built on it: pip install '.[river]' in the folder"
        " of streamer's code"
    ) from error
