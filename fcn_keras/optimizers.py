"""Stochastic gradient descent as Caffe does it, which trained the paper's networks."""

import keras
from keras import ops

from fcn_keras.errors import ConfigError


@keras.saving.register_keras_serializable(package="fcn_keras")
class CaffeSGD(keras.optimizers.SGD):
    """SGD with momentum, L2 inside the momentum, and a learning rate of their own for biases.

    A kernel w with gradient g moves by `v = momentum * v - rate * (g + l2 * w); w = w + v`, a bias
    by `v = momentum * v - rate * bias_rate * g; w = w + v`; other variables, such as the scale and
    offset of a batch normalisation, have neither decay nor a rate of their own. With
    `gradient_accumulation_steps` g is the mean of the gradients, as with Caffe's `iter_size`.

    Keras's own `weight_decay` shrinks the weights outside the momentum: at 0.99 that is a hundredth
    of Caffe's. A kernel regulariser would be printed with the loss, and an averaged loss and a
    summed one would print it on different scales.
    """

    def __init__(self, learning_rate=0.01, momentum=0.9, *, l2=0.0, bias_rate=1.0, **kwargs):
        """Sets the rule.

        Args:
            learning_rate: a float or a `LearningRateSchedule`.
            momentum: 0 to 1.
            l2: Caffe's `weight_decay`: its share of a kernel is added to the kernel's gradient.
            bias_rate: Caffe's `lr_mult` of the biases, 2 in the paper.
            **kwargs: further arguments of `keras.optimizers.SGD`, but for `weight_decay`.

        Raises:
            ConfigError: `weight_decay` is given, or a number is negative.
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
        self.l2 = l2
        self.bias_rate = bias_rate

    def build(self, variables):
        """Notes which variables are kernels and which are biases, by their names."""
        if self.built:
            return
        super().build(variables)
        names = [variable.name.split(":")[0] for variable in variables]  # TensorFlow's end in ":0".
        self._decays = tuple(self.l2 if name.endswith("kernel") else 0.0 for name in names)
        self._rates = tuple(self.bias_rate if name.endswith("bias") else 1.0 for name in names)

    def update_step(self, gradient, variable, learning_rate):
        """Moves one variable; `gradient` is already the mean over the accumulated steps."""
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, variable.dtype) * self._rates[index]
        if self._decays[index]:
            gradient = gradient + self._decays[index] * variable
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        """The rule's numbers."""
        return {**super().get_config(), "l2": self.l2, "bias_rate": self.bias_rate}
