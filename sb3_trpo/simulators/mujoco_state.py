"""MuJoCo: MuJoCo's integration state, what a step reads before it computes it anew, and models that an environment edits."""

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import mujoco
import numpy as np

from sb3_trpo.simulators.layers import CannotCloneError
from sb3_trpo.simulators.random_generators import Seeds

_ROW = int(mujoco.mjtState.mjSTATE_INTEGRATION)  # MuJoCo's own type takes as long to convert as the state to copy

# Computed in a step from the state before it, one substep late, and read by environments before the next step (Ant takes
# positions from it for its velocity, Humanoid the centre of mass): no function of the state brings it back. Of gymnasium's
# own environments (v4 and v5) it is known which read what; with other classes in the environment, all may be read. Quantities
# of single contacts or constraints are not among them, because their number changes.
_READ_BY_GYMNASIUM = {"AntEnv": ("xpos",), "HumanoidEnv": ("xipos",), "PusherEnv": ("xpos",), "ReacherEnv": ("xpos",)}
_DERIVED = (
    *("xpos", "xquat", "xmat", "xipos", "ximat", "xanchor", "xaxis", "geom_xpos", "geom_xmat", "site_xpos", "site_xmat"),
    *("cam_xpos", "cam_xmat", "light_xpos", "light_xdir", "flexvert_xpos", "subtree_com", "subtree_linvel", "subtree_angmom"),
    *("cdof", "cinert", "crb", "cvel", "cdof_dot", "cacc", "cfrc_int", "cfrc_ext", "ten_length", "ten_velocity"),
    *("actuator_length", "actuator_velocity", "actuator_force", "qfrc_spring", "qfrc_damper", "qfrc_gravcomp", "qfrc_fluid"),
    *("qfrc_passive", "qfrc_bias", "qfrc_smooth", "qfrc_actuator", "qfrc_constraint", "qfrc_inverse"),
    *("qacc", "qacc_smooth", "sensordata", "energy", "xiquat", "geom_xquat", "site_xquat", "act_dot", "qfrc_adhesion"),
    *("M", "qM", "qLD", "qLDiagInv", "qH", "qHDiagInv", "qDeriv", "qLU"),
    *("actuator_moment", "moment_rownnz", "moment_rowadr", "moment_colind", "ten_J", "ten_wrapadr", "ten_wrapnum"),
    *("wrap_obj", "wrap_xpos", "flexedge_J", "flexedge_length", "flexedge_velocity", "flexelem_aabb", "bvh_aabb_dyn"),
)


# The state itself: the memory of these two stays where it is as long as a simulator lives.
_STATE = (
    *("qpos", "qvel", "act", "history", "qacc_warmstart", "ctrl", "qfrc_applied", "xfrc_applied", "eq_active", "mocap_pos"),
    *("mocap_quat", "userdata", "plugin_state", "plastic"),
)
_MEMORY: "weakref.WeakKeyDictionary[Any, list[tuple[str, int, int]]]" = weakref.WeakKeyDictionary()


def memory(simulator: Any) -> list[tuple[str, int, int]]:
    """Where the arrays saved with a simulator are in memory: name, first address, and the address after the last."""
    known = _MEMORY.get(simulator)
    if known is None:
        names = (*_STATE, *_DERIVED) if isinstance(simulator, mujoco.MjData) else dir(simulator)
        found = ((name, getattr(simulator, name, None)) for name in names if not name.startswith("_"))
        arrays = [
            (name, array, array.__array_interface__["data"][0]) for name, array in found if isinstance(array, np.ndarray)
        ]
        known = _MEMORY[simulator] = [(name, first, first + array.nbytes) for name, array, first in arrays]
    return known


class _Views:
    """The derived quantities of one MjData, which MuJoCo goes on writing to.

    :param data: of an environment
    :param derived: names of the derived quantities to save
    :raises TypeError: for a model with state that MuJoCo does not hand out
    """

    def __init__(self, data: mujoco.MjData, derived: tuple[str, ...]):
        model = data.model
        if model.opt.enableflags & getattr(mujoco.mjtEnableBit, "mjENBL_SLEEP", 0):  # MuJoCo 3.4 and later
            raise TypeError("its model puts bodies to sleep, and which of them sleep is not in MuJoCo's state")
        if model.nplugin:
            raise TypeError("its model uses plugins, whose own memory is not in MuJoCo's state")
        self.model = model
        self.row_size = mujoco.mj_stateSize(model, _ROW)
        views = (getattr(data, name) for name in derived if hasattr(data, name))
        self.derived = [view for view in views if view.size]


_VIEWS: "weakref.WeakKeyDictionary[mujoco.MjData, dict[tuple[str, ...], _Views]]" = weakref.WeakKeyDictionary()


def _views(data: mujoco.MjData, derived: tuple[str, ...]) -> _Views:
    known = _VIEWS.get(data)
    if known is None:
        known = _VIEWS[data] = {}
    views = known.get(derived)
    if views is None:
        views = known[derived] = _Views(data, derived)
    return views


class DataState(NamedTuple):
    """State of an MjData.

    :param row: MuJoCo's integration state
    :param names: of the derived quantities
    :param derived: their values, where they have any
    """

    row: np.ndarray
    names: tuple[str, ...]
    derived: list[np.ndarray]

    def load(self, owner: dict[str, Any], name: str) -> None:
        """Write into the instance's own MjData, which renderers and views refer to."""
        data = owner[name]
        views = _views(data, self.names)
        mujoco.mj_setState(views.model, data, self.row, _ROW)
        if self.derived:  # for most environments there are none, and an empty loop takes a tenth of the time
            for view, value in zip(views.derived, self.derived, strict=True):
                view[:] = value

    def reseeded(self, seeds: Seeds) -> "DataState":
        return self


def save_data(layer: type, trusted: bool) -> Callable[[dict[str, Any], str], DataState]:
    """The saver of MjData in a class of environments; with trusted layers only, that is one of gymnasium's own."""
    names = _READ_BY_GYMNASIUM.get(layer.__name__, ()) if trusted else _DERIVED

    def save(owner: dict[str, Any], name: str) -> DataState:
        data = owner[name]
        views = _views(data, names)
        row = np.empty(views.row_size)
        mujoco.mj_getState(views.model, data, row, _ROW)
        return DataState(row, names, [view.copy() for view in views.derived])

    return save


class ModelState(NamedTuple):
    """A whole MjModel, as MuJoCo writes it to a file: as the first state of it has it, and the bytes that are others since.

    :param first: bytes ``[n]``, the same array for all states of a model; textures make it large
    :param places: indices of the bytes that differ
    :param values: what is there
    """

    first: np.ndarray
    places: np.ndarray
    values: np.ndarray

    @property
    def image(self) -> np.ndarray:
        """The file, bytes ``[n]``."""
        image = self.first.copy()
        image[self.places] = self.values
        return image

    def load(self, owner: dict[str, Any], name: str) -> None:
        """Write the arrays and options that differ into the instance's own MjModel, which its MjData refers to."""
        model = owner[name]
        image = _image(model)
        if image.shape != self.first.shape:
            raise CannotCloneError(
                name, "it is a model of other sizes than the one of the state, and models stay with their instance"
            )
        places = _differences(image, self.first)
        if np.array_equal(places, self.places) and np.array_equal(image[places], self.values):
            return
        source = mujoco.MjModel.from_binary_path("model.mjb", {"model.mjb": self.image.tobytes()})
        for target, origin in ((model, source), (model.opt, source.opt), (model.stat, source.stat)):
            for field in (field for field in dir(origin) if not field.startswith("_")):
                value = getattr(origin, field)
                if isinstance(value, np.ndarray):
                    getattr(target, field)[...] = value
                elif target is not model and isinstance(value, (int, float)):  # the model's own scalars are sizes
                    setattr(target, field, value)

    def reseeded(self, seeds: Seeds) -> "ModelState":
        return self


def save_model(layer: type, trusted: bool) -> Callable[[dict[str, Any], str], ModelState] | None:
    """The saver of MjModel; none with trusted layers only: gymnasium's own environments never edit theirs."""
    return None if trusted else _save_model


_LAST: "weakref.WeakKeyDictionary[mujoco.MjModel, ModelState]" = weakref.WeakKeyDictionary()


def _save_model(owner: dict[str, Any], name: str) -> ModelState:
    """States of a model that has not changed in between are one object."""
    model = owner[name]
    image, last = _image(model), _LAST.get(model)
    first = image.copy() if last is None or last.first.shape != image.shape else last.first
    places = _differences(image, first)
    if 9 * len(places) > len(image):  # an index takes eight bytes
        first, places = image.copy(), np.empty(0, dtype=places.dtype)
    new = ModelState(first, places, image[places])
    if last is None or last.first is not first or not all(map(np.array_equal, last[1:], new[1:])):
        last = _LAST[model] = new
    return last


_IMAGES: "weakref.WeakKeyDictionary[mujoco.MjModel, np.ndarray]" = weakref.WeakKeyDictionary()


def _image(model: mujoco.MjModel) -> np.ndarray:
    """The model as MuJoCo writes it to a file, bytes ``[n]``. The next call for this model overwrites them: getting new memory
    would take longer than filling it.
    """
    image = _IMAGES.get(model)
    if image is None:
        image = _IMAGES[model] = np.empty(mujoco.mj_sizeModel(model), dtype=np.uint8)
    mujoco.mj_saveModel(model, None, image)
    return image


def _differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Indices of the bytes that differ, in order; eight are compared at a time."""
    end = len(a) // 8 * 8
    words = np.flatnonzero(a[:end].view(np.uint64) != b[:end].view(np.uint64))
    near = np.append(8 * words[:, None] + np.arange(8), np.arange(end, len(a)))
    return near[a[near] != b[near]]
