"""Gradient accumulation that works on several devices too."""

from __future__ import annotations

from typing import Any, Self

import keras
import tensorflow as tf
from keras import ops

from fcn_keras.arguments import whole
from fcn_keras.errors import ConfigError


class Accumulating(keras.optimizers.Optimizer):
    """Updates the weights every `gradient_accumulation_steps` steps with the mean gradient.

    Keras' own accumulation checks whether an update is due before it sums the gradients over the
    replicas, and TensorFlow rejects such a sum inside a condition. This class checks per variable
    and after the sum, so every replica accumulates the same gradients. As in Keras and Caffe, the
    mean gradient is clipped, not the gradients of the single steps.
    """

    accumulate = 1

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> Self:
        """Creates the optimizer from a config, including one of version 0.1."""
        config = dict(config)
        if "accumulate" in config:
            config["gradient_accumulation_steps"] = config.pop("accumulate")
        return super().from_config(config, custom_objects)

    def build(self, variables: list[keras.Variable]) -> None:
        """Creates the gradient sums if gradients are accumulated."""
        if self.built:
            return
        super().build(variables)
        if self.accumulate > 1:
            self._sums = self.add_optimizer_variables(variables, "gradient_sum")

    @property
    def iterations(self) -> keras.Variable | tf.Tensor:
        """Number of weight updates so far."""
        if self.accumulate == 1:
            return self._iterations
        return ops.floor_divide(self._iterations, self.accumulate)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {**super().get_config(), "gradient_accumulation_steps": self.accumulate}

    def _set_accumulate(self, steps: int | None) -> None:
        count = 1 if steps is None else whole(steps)
        if count is None or count < 1:
            raise ConfigError(
                f"gradient_accumulation_steps={steps!r}: must be an integer of at least 1, or None."
            )
        self.accumulate = count

    def _clip_gradients(self, grads: list[tf.Tensor]) -> list[tf.Tensor]:
        """Clips gradients that are not accumulated; the mean is clipped later."""
        return grads if self.accumulate > 1 else super()._clip_gradients(grads)

    def _distributed_tf_update_step(
        self,
        distribution: tf.distribute.Strategy,
        grads_and_vars: list[tuple[tf.Tensor, tf.Variable]],
        learning_rate: tf.Tensor,
    ) -> None:
        """Adds up the gradients; in the last accumulation step, updates with the mean gradients."""
        if self.accumulate == 1:
            super()._distributed_tf_update_step(distribution, grads_and_vars, learning_rate)
            return
        update = distribution.extended.update
        for gradient, variable in grads_and_vars:
            update(variable, self._add_up, args=(gradient,), group=False)
        due = (self._iterations + 1) % self.accumulate == 0
        norm = self._mean_norm(due)  # Of all sums, so before the first one is reset.
        for _, variable in grads_and_vars:
            update(variable, self._update_if_due, args=(due, norm, learning_rate), group=False)

    def _add_up(self, variable: tf.Variable, gradient: tf.Tensor) -> None:
        self.assign_add(self._sums[self._get_variable_index(variable)], gradient)

    def _mean_norm(self, due: tf.Tensor) -> tf.Tensor:
        """Returns the norm of all mean gradients if an update is due and clips by it, else 0."""
        if not self.global_clipnorm:
            return ops.zeros(())

        def norm() -> tf.Tensor:
            return tf.linalg.global_norm([ops.cast(one, "float32") for one in self._sums])

        return ops.cond(due, norm, lambda: ops.zeros(())) / self.accumulate

    def _update_if_due(
        self, variable: tf.Variable, due: tf.Tensor, norm: tf.Tensor, learning_rate: tf.Tensor
    ) -> None:
        """Updates a variable with its clipped mean gradient and resets the sum."""
        total = self._sums[self._get_variable_index(variable)]

        def update_and_reset() -> None:
            mean = ops.divide(total, self.accumulate)
            if self.global_clipnorm:
                clipped, _ = tf.clip_by_global_norm([mean], self.global_clipnorm, use_norm=norm)
            else:
                clipped = super(Accumulating, self)._clip_gradients([mean])
            self.update_step(clipped[0], variable, learning_rate)
            self.assign(total, ops.zeros_like(variable))

        ops.cond(due, update_and_reset, lambda: None)
