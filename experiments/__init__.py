"""The paper's experiments at the size of MNIST and CIFAR: networks, data, training."""
