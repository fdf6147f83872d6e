PASSES = 10.0


def peers(passes):
    return []
