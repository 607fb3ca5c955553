"""Optimizers for one or several devices: Caffe's SGD, which the paper used, and AdamW.

Both support gradient accumulation. Wrap them in `LossScaling` for float16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from fcn_keras import replicas
from fcn_keras._accumulation import Accumulating
from fcn_keras.arguments import number
from fcn_keras.errors import ConfigError


@keras.saving.register_keras_serializable(package="fcn_keras")
class CaffeSGD(Accumulating, keras.optimizers.SGD):
    """SGD with momentum, L2 decay inside the momentum and a separate learning rate for biases.

    A kernel w with gradient g is updated by `v = momentum * v - rate * (g + l2 * w); w = w + v`, a
    bias by `v = momentum * v - rate * bias_rate * g; w = w + v`; with `bias_layers`, the biases of
    other layers are updated like kernels, as in the reference's FCN-AlexNet. Other variables, such
    as the scale and offset of batch normalisation, have neither decay nor a separate rate. With
    `gradient_accumulation_steps`, g is the mean gradient of that many steps, like Caffe's
    `iter_size`.

    Keras' `weight_decay` shrinks the weights outside the momentum: at momentum 0.99 that is a
    hundredth of Caffe's decay. A kernel regulariser would be added to the reported loss, and on
    different scales for averaged and summed losses.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.01,
        momentum: float = 0.9,
        *,
        l2: float = 0.0,
        bias_rate: float = 1.0,
        bias_layers: Sequence[str] = (),
        gradient_accumulation_steps: int | None = None,
        **kwargs: Any,
    ):
        """Creates the optimizer.

        Args:
            learning_rate: A float, or a `LearningRateSchedule` over steps.
            momentum: Momentum, 0..1.
            l2: Caffe's `weight_decay`: `l2` times the kernel is added to the kernel's gradient.
            bias_rate: Caffe's `lr_mult` of the biases, 2 in the paper.
            bias_layers: Starts of the names of the layers whose biases have `bias_rate` and no
                decay; empty for all layers. The first step raises a `ConfigError` if one is no
                start of the name of a trained layer.
            gradient_accumulation_steps: Number of steps per update; None for 1.
            **kwargs: Other arguments of `keras.optimizers.SGD`, except `weight_decay`.

        Raises:
            ConfigError: `weight_decay` is given, a number is out of range, or `bias_layers` is not
                a list of names.
        """
        if kwargs.pop("weight_decay", None):
            raise ConfigError(
                "weight_decay: Keras applies it outside the momentum, unlike Caffe. Use l2."
            )
        if isinstance(bias_layers, str) or not all(isinstance(one, str) for one in bias_layers):
            raise ConfigError(f"bias_layers={bias_layers!r}: must be a list of layer names.")
        if (share := number(momentum)) is None or not 0 <= share <= 1:
            raise ConfigError(f"momentum={momentum!r}: must be 0 to 1.")
        decay, bias_rate = _at_least_0("l2", l2), _at_least_0("bias_rate", bias_rate)
        super().__init__(_rate(learning_rate), momentum=share, **kwargs)
        self._set_accumulate(gradient_accumulation_steps)
        self.l2 = decay
        self.bias_rate = bias_rate
        self.bias_layers = tuple(bias_layers)

    def build(self, variables: list[keras.Variable]) -> None:
        """Finds the kernels and biases among the variables by name."""
        if self.built:
            return
        super().build(variables)
        self._kinds = tuple(self._kind(variable) for variable in variables)
        self._layer_names = tuple(_layer(variable) for variable in variables)

    def _backend_apply_gradients(
        self, grads: list[tf.Tensor], trainable_variables: list[keras.Variable]
    ) -> None:
        """Checks `bias_layers`: here, and not in `build`, so that any saved optimizer loads."""
        for start in self.bias_layers:
            if not any(layer.startswith(start) for layer in self._layer_names):
                raise ConfigError(
                    f"bias_layers: no trained layer has a name that starts with {start!r}. The "
                    f"layers are {', '.join(dict.fromkeys(self._layer_names))}."
                )
        super()._backend_apply_gradients(grads, trainable_variables)

    def _kind(self, variable: keras.Variable) -> str:
        """Returns "kernel", "bias" or "other"; "kernel" for a bias that is updated like one."""
        name = variable.name.split(":")[0]  # TensorFlow appends ":0".
        is_exempt = not self.bias_layers or _layer(variable).startswith(self.bias_layers)
        if name.endswith("bias") and is_exempt:
            return "bias"
        return "kernel" if name.endswith(("kernel", "bias")) else "other"

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Updates one variable."""
        index = self._get_variable_index(variable)
        kind = self._kinds[index]
        gradient = ops.cast(gradient, variable.dtype) * (self.bias_rate if kind == "bias" else 1.0)
        named = self._trainable_variables[index]  # TensorFlow's variable has another name.
        if self.l2 and kind == "kernel" and self._use_weight_decay(named):
            gradient = gradient + self.l2 * variable
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {
            **super().get_config(),
            "l2": self.l2,
            "bias_rate": self.bias_rate,
            "bias_layers": self.bias_layers,
        }


@keras.saving.register_keras_serializable(package="fcn_keras", name="AdamW")  # As in 0.1.
class FusedAdamW(Accumulating, keras.optimizers.Adam):
    """A faster `keras.optimizers.AdamW` that accumulates gradients on several devices too.

    It updates a variable in one pass, with one TensorFlow kernel. Keras uses a dozen operations,
    which take nearly four times as long and allocate intermediate results of the variable's size.

    As in Keras, the decay has no effect on float32 weights if `weight_decay * learning_rate` is
    below 2 ** -25, about 3e-8: it is then less than half of a weight's last digit.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.001,
        *,
        weight_decay: float = 0.004,
        gradient_accumulation_steps: int | None = None,
        **kwargs: Any,
    ):
        """Creates the optimizer.

        Args:
            learning_rate: A float, or a `LearningRateSchedule` over steps.
            weight_decay: Each update shrinks a weight by this fraction times the learning rate.
            gradient_accumulation_steps: Number of steps per update; None for 1.
            **kwargs: Other arguments of `keras.optimizers.Adam`, except `amsgrad`.

        Raises:
            ConfigError: `amsgrad` is given, or a number is out of range.
        """
        if kwargs.pop("amsgrad", False):
            raise ConfigError("amsgrad: not supported. Use keras.optimizers.AdamW.")
        decay = _at_least_0("weight_decay", weight_decay)
        super().__init__(_rate(learning_rate), weight_decay=decay, **kwargs)
        self._set_accumulate(gradient_accumulation_steps)

    def _apply_weight_decay(self, variables: list[keras.Variable]) -> None:
        """Does nothing: `update_step` decays. Keras' own decay ignores accumulation."""

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Updates one variable."""
        index = self._get_variable_index(variable)
        rate = ops.cast(learning_rate, variable.dtype)
        count = ops.cast(self.iterations + 1, variable.dtype)
        if self.weight_decay and self._use_weight_decay(variable):
            factor = 1 - self.weight_decay * rate
            # If the factor rounds to 1, do not copy a 400 MB kernel for nothing.
            tf.cond(factor < 1, lambda: variable.assign(variable * factor), lambda: variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=self.beta_1**count,
            beta2_power=self.beta_2**count,
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=ops.cast(gradient, variable.dtype),
        )


def _layer(variable: keras.Variable) -> str:
    """Returns the name of a variable's layer, "" for none."""
    return variable.path.split("/")[-2] if "/" in variable.path else ""


def _at_least_0(name: str, value: Any) -> float:
    found = number(value)
    if found is None or found < 0:
        raise ConfigError(f"{name}={value!r}: must be at least 0.")
    return found


def _rate(
    value: float | keras.optimizers.schedules.LearningRateSchedule,
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Returns a learning rate as a float; schedules and functions as they are."""
    is_schedule = isinstance(value, keras.optimizers.schedules.LearningRateSchedule)
    return value if is_schedule or callable(value) else _at_least_0("learning_rate", value)


@keras.saving.register_keras_serializable(package="fcn_keras")
class LossScaling(keras.optimizers.LossScaleOptimizer):
    """Keras' loss scaling for float16: a step whose gradients overflow is skipped.

    Keras checks the gradients of the first replica only. Here an overflow on any replica skips the
    step on all of them.
    """

    def exclude_from_weight_decay(
        self, var_list: list[keras.Variable] | None = None, var_names: list[str] | None = None
    ) -> None:
        """Excludes variables from the decay of the optimizer inside, which is the one that decays.

        Args:
            var_list: Variables, before the first step.
            var_names: Parts of variable names.
        """
        self.inner_optimizer.exclude_from_weight_decay(var_list, var_names)

    def check_finite(self, grads: list[tf.Tensor]) -> tf.Tensor:
        """Returns whether all gradients of all replicas are finite."""
        faults = ops.cast(ops.logical_not(super().check_finite(grads)), "float32")
        return tf.equal(replicas.all_reduce_sum(faults), 0)
