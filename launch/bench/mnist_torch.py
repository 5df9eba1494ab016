"""The MNIST table as a plain PyTorch program, for launch/bench/mnist.py to be measured against.

The shape of the published program, in our own words: all models in one batched einsum a layer with
weights [M, out, in], Adam, noise of each model's own held in memory, batches gathered model by
model, and one student after another, each asking its teacher at every step. `tuned` is a stronger
peer: weights [M, in, out], one gather, and the teacher's outputs on the noise computed once.
"""

import time

import numpy as np

CLASSES, HIDDEN = 10, 256
STUDENTS = {  # starts from its own weights, matches the auxiliary logits only
    'student_aux': (True, True), 'student_all': (True, False),
    'cross_aux': (False, True), 'cross_all': (False, False),
}


def fresh(torch, models: int, sizes, tuned: bool):
    """Weights N(0, 1/d_in) and zero biases [M, out] of every layer."""
    def weights(i, o):
        return torch.randn(models, *((i, o) if tuned else (o, i))) / i**0.5

    return [(weights(i, o), torch.zeros(models, o)) for i, o in zip(sizes[:-1], sizes[1:])]


def forward(torch, params, x, tuned: bool):
    """Logits [M, B, C] of inputs [M, B, P]."""
    for number, (w, b) in enumerate(params):
        y = torch.einsum('mbi,mio->mbo', x, w) if tuned else torch.einsum('moi,mbi->mbo', w, x)
        x = y + b[:, None, :]
        if number < len(params) - 1:
            x = torch.relu(x)
    return x


def rows_of(torch, values, rows, tuned: bool):
    """Rows [M, B, ...] of values [M, N, ...], each model's own."""
    if tuned:
        return values[torch.arange(len(rows))[:, None], rows]
    return torch.stack([values[m].index_select(0, rows[m]) for m in range(len(rows))])


def train(torch, params, count: int, epochs: int, batch: int, rate: float, loss_of):
    """Adam over shuffled epochs, every model in an order of its own; returns the trained weights.

    Args:
      loss_of: (params, rows [M, B]) -> the loss.
    """
    params = [tuple(p.clone().requires_grad_() for p in layer) for layer in params]
    adam = torch.optim.Adam([p for layer in params for p in layer], lr=rate)
    models = len(params[0][0])
    for _ in range(epochs):
        order = torch.stack([torch.randperm(count) for _ in range(models)])
        for begin in range(0, count, batch):
            loss = loss_of(params, order[:, begin:begin + batch])
            adam.zero_grad()
            loss.backward()
            adam.step()
    return [tuple(p.detach() for p in layer) for layer in params]


def table(num_models: int, epochs: int, batch: int, rate: float, num_aux: int, place: str,
          tuned: bool = False) -> dict:
    """Trains and measures the teacher and the four students; seconds and mean accuracies.

    Args:
      place: a folder with the decoded arrays (data/images.py).
      tuned: the stronger peer of the module's docstring.
    """
    import torch

    def read(name):
        return torch.from_numpy(np.load(f'{place}/{name}.npy'))

    def logits_of(params, x):
        return forward(torch, params, x, tuned)

    train_x, test_x = (
        (read(f'{s}_images').float() / 127.5 - 1).expand(num_models, -1, -1)
        for s in ('train', 'test'))
    train_y, test_y = (read(f'{s}_labels').long() for s in ('train', 'test'))
    functions = torch.nn.functional
    begun = time.perf_counter()
    torch.manual_seed(0)
    count, pixels = train_x.shape[1:]
    start = fresh(torch, num_models, (pixels, HIDDEN, HIDDEN, CLASSES + num_aux), tuned)

    def label_loss(params, rows):
        logits = logits_of(params, rows_of(torch, train_x, rows, tuned))[..., :CLASSES]
        return functions.cross_entropy(logits.flatten(0, 1), train_y[rows].flatten())

    teacher = train(torch, start, count, epochs, batch, rate, label_loss)
    trained = {'teacher': teacher}
    noise = torch.rand(num_models, count, pixels) * 2 - 1
    known = torch.cat([logits_of(teacher, x) for x in noise.split(batch, 1)], 1) if tuned else None
    for name, (own, auxiliary) in STUDENTS.items():
        begin = CLASSES if auxiliary else 0

        def match_loss(params, rows, begin=begin):
            x = rows_of(torch, noise, rows, tuned)
            with torch.no_grad():
                told = rows_of(torch, known, rows, tuned) if tuned else logits_of(teacher, x)
            said = torch.log_softmax(logits_of(params, x)[..., begin:], -1)
            target = torch.softmax(told[..., begin:], -1)
            return functions.kl_div(said, target, reduction='batchmean')

        first = start if own else [tuple(p.roll(1, 0) for p in layer) for layer in start]
        trained[name] = train(torch, first, count, epochs, batch, rate, match_loss)
    accuracy = {}
    with torch.no_grad():
        for name, params in trained.items():
            guess = logits_of(params, test_x)[..., :CLASSES].argmax(-1)
            accuracy[name] = (guess == test_y).float().mean().item()
    return {'seconds': time.perf_counter() - begun, 'accuracy': accuracy}
