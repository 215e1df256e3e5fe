"""What environments draw with: a game may go on from what is in an image, but not from what is in clocks, fonts and sounds.

Of pygame: a ``Surface`` is copied by its pixels, a ``Clock`` is made anew, fonts and sounds are shared within a process, and
the one window of a process belongs to the environment that opened it. Other libraries' renderers belong to one instance each.
"""

from importlib import import_module
from typing import Any
from zlib import compress, decompress

from sb3_trpo.simulators.layers import is_rendering, is_surface, name_of

_SHARED = ("pygame.font.", "pygame.freetype.", "pygame.mixer.", "pygame.Font")


def is_clock(kind: type) -> bool:
    """Whether a class tells the time since its last tick."""
    return name_of(kind) in ("pygame.Clock", "pygame.time.Clock")


def drawing_for_a_copy(value: Any) -> Any:
    """What a second instance in this process gets for something that the first one draws with; None for its window."""
    kind = type(value)
    if is_surface(value):
        return value.copy()
    if is_clock(kind):
        return kind()
    return value if name_of(kind).startswith(_SHARED) else None


def surface_in_parts(surface: Any) -> tuple[Any, ...]:
    """Arguments of :func:`surface_of`; the first one is the surface that this one is a part of, if it is one."""
    parent, settings = surface.get_parent(), (surface.get_colorkey(), surface.get_alpha(), tuple(surface.get_clip()))
    if parent is not None:
        return parent, (*surface.get_offset(), *surface.get_size()), settings
    palette = surface.get_palette() if surface.get_bitsize() <= 8 else None
    shape = surface.get_size(), surface.get_flags() & _pygame().SRCALPHA, surface.get_bitsize(), surface.get_masks()
    return None, (shape, palette, compress(surface.get_buffer().raw, level=1)), settings


def surface_of(parent: Any, content: tuple[Any, ...], settings: tuple[Any, ...]) -> Any:
    """A surface with the same pixels."""
    if parent is not None:
        surface = parent.subsurface(content)
    else:
        shape, palette, pixels = content
        surface = _pygame().Surface(*shape)
        if palette is not None:
            surface.set_palette(palette)
        surface.get_buffer().write(decompress(pixels), 0)
    key, alpha, clip = settings
    surface.set_colorkey(key)
    surface.set_alpha(alpha)
    surface.set_clip(clip)
    return surface


def reduced_for_another_process(value: Any) -> Any:
    """How something is pickled that an environment draws with; NotImplemented for all else."""
    kind = type(value)
    if not is_rendering(kind):
        return NotImplemented
    if is_surface(value):
        return surface_of, surface_in_parts(value)
    return (kind, ()) if is_clock(kind) else (_nothing, ())


def _nothing() -> None:
    """What an instance in another process has for its windows, fonts and sounds: it makes them when it needs them."""


def _pygame() -> Any:
    return import_module("pygame")  # when a surface is met
