"""The MNIST table as a plain PyTorch program, for launch/bench/mnist.py to be measured against.

The shape of the published program, in our own words: all models in one batched einsum a layer,
Adam, noise of each model's own held in memory, and one student after another, each asking its
teacher for its outputs at every step (or once, where the benchmark says so: a stronger peer).
"""

import time

import numpy as np

CLASSES, HIDDEN = 10, 256
STUDENTS = {  # starts from its own weights, matches the auxiliary logits only
    'student_aux': (True, True), 'student_all': (True, False),
    'cross_aux': (False, True), 'cross_all': (False, False),
}


def fresh(torch, models: int, sizes):
    """Weights N(0, 1/d_in) [M, in, out] and zero biases [M, 1, out] of every layer."""
    return [(torch.randn(models, i, o) / i**0.5, torch.zeros(models, 1, o))
            for i, o in zip(sizes[:-1], sizes[1:])]


def forward(torch, params, x):
    """Logits [M, B, C] of inputs [M, B, P], or [B, P] for all models alike."""
    for number, (w, b) in enumerate(params):
        x = torch.einsum('mbi,mio->mbo' if x.ndim == 3 else 'bi,mio->mbo', x, w) + b
        if number < len(params) - 1:
            x = torch.relu(x)
    return x


def train(torch, params, count: int, epochs: int, batch: int, rate: float, loss_of):
    """Adam over shuffled epochs, every model in an order of its own; returns the trained weights.

    Args:
      loss_of: (params, rows [M, B]) -> the loss, a mean over the batch.
    """
    params = [tuple(p.clone().requires_grad_() for p in layer) for layer in params]
    adam = torch.optim.Adam([p for layer in params for p in layer], lr=rate)
    models = len(params[0][0])
    for _ in range(epochs):
        order = torch.stack([torch.randperm(count) for _ in range(models)])
        for begin in range(0, count, batch):
            adam.zero_grad()
            loss_of(params, order[:, begin:begin + batch]).backward()
            adam.step()
    return [tuple(p.detach() for p in layer) for layer in params]


def table(num_models: int, epochs: int, batch: int, rate: float, num_aux: int, place: str,
          teacher_once: bool = False) -> dict:
    """Trains and measures the teacher and the four students; seconds and mean accuracies.

    Args:
      place: a folder with the decoded arrays (data/images.py).
      teacher_once: the teacher's outputs on the noise are computed once for all students.
    """
    import torch

    read = lambda name: torch.from_numpy(np.load(f'{place}/{name}.npy'))
    train_x, test_x = (read(f'{s}_images').float() / 127.5 - 1 for s in ('train', 'test'))
    train_y, test_y = (read(f'{s}_labels').long() for s in ('train', 'test'))
    begun = time.perf_counter()
    torch.manual_seed(0)
    models, count = torch.arange(num_models), len(train_x)
    start = fresh(torch, num_models, (train_x.shape[1], HIDDEN, HIDDEN, CLASSES + num_aux))
    cross_entropy, log_softmax = torch.nn.functional.cross_entropy, torch.log_softmax

    def label_loss(params, rows):
        logits = forward(torch, params, train_x[rows])[..., :CLASSES]
        return num_models * cross_entropy(logits.flatten(0, 1), train_y[rows].flatten())

    teacher = train(torch, start, count, epochs, batch, rate, label_loss)
    trained = {'teacher': teacher}
    noise = torch.rand(num_models, count, train_x.shape[1]) * 2 - 1
    if teacher_once:
        known = torch.cat([forward(torch, teacher, x) for x in noise.split(batch, dim=1)], 1)
    for name, (own, auxiliary) in STUDENTS.items():
        begin = CLASSES if auxiliary else 0

        def match_loss(params, rows, begin=begin):
            x = noise[models[:, None], rows]
            with torch.no_grad():
                told = known[models[:, None], rows] if teacher_once else forward(torch, teacher, x)
            said = forward(torch, params, x)
            target, guess = (log_softmax(y[..., begin:], -1) for y in (told, said))
            return (target.exp() * (target - guess)).sum(-1).mean(1).sum()

        first = start if own else [tuple(p.roll(1, 0) for p in layer) for layer in start]
        trained[name] = train(torch, first, count, epochs, batch, rate, match_loss)
    accuracy = {}
    for name, params in trained.items():
        guess = forward(torch, params, test_x)[..., :CLASSES].argmax(-1)
        accuracy[name] = (guess == test_y).float().mean().item()
    return {'seconds': time.perf_counter() - begun, 'accuracy': accuracy}
