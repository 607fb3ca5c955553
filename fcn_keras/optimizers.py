"""Optimizers, on one device or several: Caffe's SGD, which trained the paper's nets, and AdamW.

Both can add up the gradients of several steps. `LossScaling` around one of them is for float16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import keras
import tensorflow as tf
from keras import ops

from fcn_keras import replicas
from fcn_keras.errors import ConfigError


class _Accumulating(keras.optimizers.Optimizer):
    """Updates once in `gradient_accumulation_steps` steps, by the mean of their gradients.

    Keras' own asks whether the weights are due before it sums
    the gradients over the replicas, and TensorFlow refuses such a sum under a condition. Here each
    variable asks, after that sum, so that what is added up is the same on every replica.
    """

    accumulate = 1

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> Self:
        """An optimizer from what `get_config` gave, of version 0.1 too."""
        config = dict(config)
        if "accumulate" in config:
            config["gradient_accumulation_steps"] = config.pop("accumulate")
        return super().from_config(config, custom_objects)

    def build(self, variables: list[keras.Variable]) -> None:
        """Makes a place for the sums, if there are any."""
        if self.built:
            return
        super().build(variables)
        if self.accumulate > 1:
            self._sums = self.add_optimizer_variables(variables, "gradient_sum")

    @property
    def iterations(self) -> keras.Variable | tf.Tensor:
        """Updates until now."""
        if self.accumulate == 1:
            return self._iterations
        return ops.floor_divide(self._iterations, self.accumulate)

    def get_config(self) -> dict[str, Any]:
        """The rule's numbers."""
        return {**super().get_config(), "gradient_accumulation_steps": self.accumulate}

    def _set_accumulate(self, steps: int | None) -> None:
        if steps is not None and (not isinstance(steps, int) or steps < 1):
            raise ConfigError(
                f"gradient_accumulation_steps={steps!r}: must be a whole number of at least 1, or "
                "None."
            )
        self.accumulate = steps or 1

    def _at_the_last(
        self,
        gradient: tf.Tensor,
        variable: keras.Variable,
        update: Callable[[tf.Tensor], None],
    ) -> None:
        """Calls `update` with the mean gradient, in the last of the steps that make one."""
        if self.accumulate == 1:
            update(gradient)
            return
        total = self._sums[self._get_variable_index(variable)]
        self.assign_add(total, gradient)

        def update_and_empty() -> None:
            update(ops.divide(total, self.accumulate))
            self.assign(total, ops.zeros_like(variable))

        ops.cond((self._iterations + 1) % self.accumulate == 0, update_and_empty, lambda: None)


@keras.saving.register_keras_serializable(package="fcn_keras")
class CaffeSGD(_Accumulating, keras.optimizers.SGD):
    """SGD with momentum, L2 inside the momentum, and a learning rate of their own for biases.

    A kernel w with gradient g moves by `v = momentum * v - rate * (g + l2 * w); w = w + v`, a bias
    by `v = momentum * v - rate * bias_rate * g; w = w + v`; other variables, such as the scale and
    offset of a batch normalisation, have neither decay nor a rate of their own. With
    `gradient_accumulation_steps` g is the mean of the gradients of so many steps, as with Caffe's
    `iter_size`.

    Keras's own `weight_decay` shrinks the weights outside the momentum: at 0.99 that is a hundredth
    of Caffe's. A kernel regulariser would be printed with the loss, and an averaged loss and a
    summed one would print it on different scales.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.01,
        momentum: float = 0.9,
        *,
        l2: float = 0.0,
        bias_rate: float = 1.0,
        gradient_accumulation_steps: int | None = None,
        **kwargs: Any,
    ):
        """Sets the rule.

        Args:
            learning_rate: a float or a `LearningRateSchedule`, of steps.
            momentum: 0 to 1.
            l2: Caffe's `weight_decay`: its share of a kernel is added to the kernel's gradient.
            bias_rate: Caffe's `lr_mult` of the biases, 2 in the paper.
            gradient_accumulation_steps: steps whose gradients make one update; None for 1.
            **kwargs: further arguments of `keras.optimizers.SGD`, but for `weight_decay`.

        Raises:
            ConfigError: that one is given, or a number is out of its range.
        """
        if kwargs.pop("weight_decay", None):
            raise ConfigError(
                "weight_decay: Keras applies it outside the momentum, which is not Caffe's rule. "
                "Use l2."
            )
        for name, value in (("l2", l2), ("bias_rate", bias_rate)):
            if value < 0:
                raise ConfigError(f"{name}={value!r}: must be at least 0.")
        super().__init__(learning_rate, momentum=float(momentum), **kwargs)
        self._set_accumulate(gradient_accumulation_steps)
        self.l2 = l2
        self.bias_rate = bias_rate

    def build(self, variables: list[keras.Variable]) -> None:
        """Notes which variables are kernels and which are biases, by their names."""
        if self.built:
            return
        super().build(variables)
        names = [variable.name.split(":")[0] for variable in variables]  # TensorFlow's end in ":0".
        self._decays = tuple(self.l2 if name.endswith("kernel") else 0.0 for name in names)
        self._rates = tuple(self.bias_rate if name.endswith("bias") else 1.0 for name in names)

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Moves one variable, or adds its gradient to those of the steps before."""
        index = self._get_variable_index(variable)

        def update(gradient: tf.Tensor) -> None:
            gradient = ops.cast(gradient, variable.dtype) * self._rates[index]
            if self._decays[index]:
                gradient = gradient + self._decays[index] * variable
            super(CaffeSGD, self).update_step(gradient, variable, learning_rate)

        self._at_the_last(gradient, variable, update)

    def get_config(self) -> dict[str, Any]:
        """The rule's numbers."""
        return {**super().get_config(), "l2": self.l2, "bias_rate": self.bias_rate}


@keras.saving.register_keras_serializable(package="fcn_keras", name="AdamW")  # As in 0.1.
class FusedAdamW(_Accumulating, keras.optimizers.Adam):
    """`keras.optimizers.AdamW`, faster, and accumulating gradients on several devices too.

    A variable is moved by one kernel of TensorFlow's, in one pass. Keras' dozen of operations take
    nearly four times as long, and memory for results of the variable's size.

    Float32 weights do not feel a decay where `weight_decay * learning_rate` is below 2 ** -25,
    about 3e-8: that share of a weight is less than half of its last digit. Keras' do not either.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.001,
        *,
        weight_decay: float = 0.004,
        gradient_accumulation_steps: int | None = None,
        **kwargs: Any,
    ):
        """Sets the rule.

        Args:
            learning_rate: a float or a `LearningRateSchedule`, of steps.
            weight_decay: the share of a weight that it loses in an update, times the learning rate.
            gradient_accumulation_steps: steps whose gradients make one update; None for 1.
            **kwargs: further arguments of `keras.optimizers.Adam`, but for `amsgrad`.

        Raises:
            ConfigError: that one is given, or a number is out of its range.
        """
        if kwargs.pop("amsgrad", False):
            raise ConfigError("amsgrad: is another rule. Use keras.optimizers.AdamW.")
        if weight_decay < 0:
            raise ConfigError(f"weight_decay={weight_decay!r}: must be at least 0.")
        super().__init__(learning_rate, **kwargs)  # Keras' own decay knows nothing of accumulation.
        self._set_accumulate(gradient_accumulation_steps)
        self.decay = weight_decay

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Moves one variable, or adds its gradient to those of the steps before."""
        index = self._get_variable_index(variable)
        rate = ops.cast(learning_rate, variable.dtype)
        count = ops.cast(self.iterations + 1, variable.dtype)

        def update(gradient: tf.Tensor) -> None:
            if self.decay:
                left = 1 - self.decay * rate
                # Where that is 1 no kernel of 400 MB is copied for it.
                tf.cond(left < 1, lambda: variable.assign(variable * left), lambda: variable)
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

        self._at_the_last(gradient, variable, update)

    def get_config(self) -> dict[str, Any]:
        """The rule's numbers."""
        return {**super().get_config(), "weight_decay": self.decay}


@keras.saving.register_keras_serializable(package="fcn_keras")
class LossScaling(keras.optimizers.LossScaleOptimizer):
    """Keras' scaling of the loss for float16, where a gradient that overflows skips the step.

    Keras asks the first replica alone whether its gradients are finite; here one replica's overflow
    stops all of them.
    """

    def check_finite(self, grads: list[tf.Tensor]) -> tf.Tensor:
        """Whether all gradients of all replicas are finite numbers."""
        faults = ops.cast(ops.logical_not(super().check_finite(grads)), "float32")
        return tf.equal(replicas.all_reduce_sum(faults), 0)
