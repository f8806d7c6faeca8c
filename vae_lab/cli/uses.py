"""The commands that put a finished run to a use."""


def reconstruct(argv: list[str]) -> int:
    return _use("reconstruct", "Reconstruct", argv)


def sample(argv: list[str]) -> int:
    return _use("sample", "Sample", argv)


def interpolate(argv: list[str]) -> int:
    return _use("interpolate", "Interpolate", argv)


def probe(argv: list[str]) -> int:
    return _use("probe", "Probe", argv)


def _use(name: str, kind: str, argv: list[str]) -> int:
    """`vae-lab NAME RUN [option=value ...]`: prints the numbers, and where they and the pictures are."""
    from vae_lab import arguments
    from vae_lab.errors import RequestError
    from vae_lab.settings import flatten

    form = f"vae-lab {name} RUN [option=value ...]"
    runs, words = [word for word in argv if "=" not in word], [word for word in argv if "=" in word]
    for word in argv:
        if word.startswith("-"):
            raise RequestError(f"{name}: {word}: no such flag; options are written option=value: {form}")
    if len(runs) != 1:
        raise RequestError(f"{name}: {'which run?' if not runs else f'one run at a time, not {len(runs)}:'} {form}")
    options = arguments.plain_values(words)

    from vae_lab import uses  # Lightning takes seconds to import: what is mistyped is said before that

    answer, paths = uses.use(name, getattr(uses, kind), runs[0], options)
    for key, value in flatten(answer.numbers).items():
        print(f"{key:40} {'n/a' if value is None else value if isinstance(value, int) else f'{value:.4g}'}")
    print(*paths, sep="\n")
    return 0
