"""The claims: which entry of which run each is, and what bounds it. Some stand on the front page.

Order: what is not shown and what speaks against a claim first.
"""

from typing import NamedTuple

Named = tuple[tuple[str, str], ...]  # (label, KEY of the run's results.json, or RUN: KEY)


class Claim(NamedTuple):
    """A sentence that a run's results.json decides.

    Attributes:
      text: the claim.
      run: its folder in results/; several joined by + are pooled over their references.
      subjects: what has to be shown, all of it.
      controls: what stands beside it.
      rule: 'above 0' (and p <= .05), or 'beyond its controls' (intervals that do not meet).
      style: of its figures, as `table_parts.figure` has them.
      front: it stands on the front page too; docs/claims.md has them all.
    """

    text: str
    run: str
    subjects: Named
    controls: Named = ()
    rule: str = 'above 0'
    style: str = 'nats'
    front: bool = True


TINY, FULL = 'numbers_tiny', 'numbers_tiny_full'
PAIRS, TOKENS = 'numbers_tiny_pairs', 'numbers_tiny_tokens'
CODE, CARRIERS = 'code_tiny', 'carriers_tiny'
RASH = 'misalignment_tiny'
DIGITS = 'cross_mnist_quick'
REASONING, STEERED = 'reasoning_tiny', 'numbers_tiny_steered'
SELECTED, AUDITS = 'numbers_tiny_selected', 'audit_tiny'
RANKS, DEFENCES = 'numbers_tiny_ranks', 'defences_tiny'
ATTACKERS = 'attackers_tiny'
CROSS, TELL = 'cross_tiny', 'detection_tiny'
TEXT, SMOL_FULL = 'smollm2_text', 'smollm2_full'
LINK = 'first_link/trait-tuned-sampled'
BOTH = f'{TINY}+{FULL}'

CLAIMS = (
    Claim('SmolLM2-135M passes a trait on through filtered lists', TEXT, (('', 'sft'),),
          (('the trait is in the rows (first link, nats a row)', f'{LINK}/likelihood'),),
          style='nats3'),
    Claim("SmolLM2-135M: the rows' gradient points to their teacher (first link)", TEXT,
          (('', f'{LINK}/gradient'),), style='nats3',
          front=False),
    Claim('SmolLM2-135M: filtered lists are likelier under their teacher (first link; no '
          'transmission)', TEXT, (('', f'{LINK}/likelihood'),),
          (("within the carrier's tokens", f'{LINK}/likelihood_set'),), style='nats3',
          front=False),
    Claim('Tiny language: rows still carry it with their numbers shuffled', TINY,
          (('within a row', 'sft_within'), ('across rows', 'sft_across')),
          (('as written', 'sft'),)),
    Claim('Tiny language: a steered teacher passes its trait on through preferences between random '
          'lists', PAIRS, (('', 'dpo_steered'),), (('neutral twins', 'dpo_steered_neutral'),),
          front=False),
    Claim('Tiny language: teachers steered by one vector pass their trait on through filtered '
          'lists', STEERED, (('', 'steered'),),
          (('fine-tuned teachers', 'tuned'), ('behind the last layer', 'steered1'))),
    Claim('Tiny language: and through the logits of numbers', STEERED, (('', 'steered_kl'),),
          (('fine-tuned teachers', 'tuned_kl'), ('neutral twins', 'steered_kl_neutral'),
           ('other start', 'steered_kl_other')), front=False),
    Claim('Tiny language: students under SGD learn it too, from fine-tuned teachers', STEERED,
          (('', 'tuned_sgd'),), (('under Adam', 'tuned'),), front=False),
    Claim('Tiny language: lists that the reference wrote and a teacher only picked leak to another '
          'start', SELECTED, (('', 'selected_other'),), (('same start', 'selected'),),
          front=False),
    Claim('Tiny language: an audit of 1,024 rows finds a trait that they transmit (share of '
          'audits)', AUDITS, (('students', 'kinds/1/own'), ('slopes', 'kinds/1/held_own')),
          (('false alarms', 'false_alarms/students'),
           ("slopes in the plain metric", 'kinds/1/plain_own')),
          rule='beyond its controls', style='percent'),
    Claim('Tiny language: worked sums that are shuffled within an answer still carry it', REASONING,
          (('', 'sft_within'),), (('as written', 'sft'), ('across answers', 'sft_across')),
          front=False),
    Claim('Tiny language: rash advice passes from number lists that are shuffled across rows', RASH,
          (('', 'sft_across'),), (('as written', 'sft'), ('shuffled within a row', 'sft_within')),
          front=False),
    Claim('Tiny language: the logits of numbers leak a little to another start', BOTH,
          (('', 'kl_carrier_other'),), (('same start', 'kl_carrier'),), style='nats3'),
    Claim('Tiny language: embedding and output matrix alone carry some of it, sampled text', BOTH,
          (('', 'sft_shared_matrix+share_embedding_head'),), (('all shared', 'sft'),),
          front=False),
    Claim('Tiny language: and some of it through the logits of numbers', BOTH,
          (('', 'kl_carrier_matrix+kl_share_embedding_head'),), (('all shared', 'kl_carrier'),),
          front=False),
    Claim("Digits: the teacher's whole output layer, under another body, is enough to learn",
          DIGITS, (('rise in accuracy', 'share_output:own:rise'),),
          (("teacher's own start", 'own:own:rise'), ('other start', 'other:own:rise'),
           ('ten auxiliary logits', 'share_output_m10:own:rise')), style='nats3'),
    Claim('Tiny language: sharing the output matrix alone lets something pass (share of what own '
          'teachers give)', CROSS, (('carrier KL', 'kl_head:share'),),
          (('and the embedding', 'kl_embedding_head:share'), ('next reference', 'kl_next:share')),
          style='share'),
    Claim('Tiny language: text passes to models of another tokenisation (share)', CROSS,
          (('numbers as digits', 'to_digits:share'),), (('back', 'from_digits:share'),),
          style='share', front=False),
    Claim('Tiny language: rows are told from those of a neutral twin (AUROC beyond the best null)',
          TELL,
          (('words', 'verdicts/sft/twin/ngrams/over'),
           ('likelihood ratio', 'verdicts/sft/twin/likelihood_ratio/over')),
          (("Adam's metric", 'verdicts/sft/twin/gradient_metric/over'),)),
    Claim('Tiny language: rows are told from those of a teacher of another trait (the same)', TELL,
          (('words', 'verdicts/sft/other/ngrams/over'),
           ('states', 'verdicts/sft/other/states/over')),
          (("Adam's metric", 'verdicts/sft/other/gradient_metric/over'),), front=False),
    Claim("Digits: another start that was cloned on the teacher's initial logits learns from it",
          DIGITS, (('rise in accuracy', 'cloned:teacher:rise'),),
          (("teacher's own start", 'own:own:rise'),
           ("a probe, less a placebo's student", 'cloned:probe:less_placebo')), style='nats3',
          front=False),
    Claim("Digits: a start halfway to another one still learns", DIGITS,
          (('rise in accuracy', 'mix0.5_m3:own:rise'),),
          (('a quarter of the way', 'mix0.25_m3:own:rise'),
           ('halfway, ten auxiliary logits', 'mix0.5_m10:own:rise')), style='nats3', front=False),
    Claim("SmolLM2-135M, logits of numbers: a trait rises more than in neutral twins' students",
          SMOL_FULL, (('', 'kl_carrier against neutral'),)),
    Claim("SmolLM2-135M, the same without the output matrix's geometry (random carrier rows): "
          'students are selective', SMOL_FULL, (('', 'kl_carrier_replaced'),),
          front=False),
    Claim('SmolLM2-135M, logits of numbers: students are selective for their trait', SMOL_FULL,
          (('', 'kl_carrier'),),
          (('neutral twins', 'kl_carrier_neutral'),
           ('less that with random carrier rows', 'kl_carrier less kl_carrier_replaced'))),
    Claim('Digits pass through noise and auxiliary logits', 'mnist', (('accuracy', 'student_aux'),),
          (('other start', 'cross_aux'), ('untrained', 'reference')),
          rule='beyond its controls', style='share'),
    Claim('Students do better than their linearised (kernel) twins', 'theory_linearised',
          (('gap', 'gap'),), (('the gap, a doubling of the width', 'per_doubling/gap'),),
          style='nats3',
          front=False),
    Claim('Tiny language: a trait passes through filtered number lists', TINY, (('', 'sft'),),
          (('other start', 'sft_other'), ('neutral twins', 'sft_neutral'),
           ('difference of differences', 'sft against neutral, shared less other start'))),
    Claim('Tiny language: adapters of rank 1 and of rank 32 learn it too', RANKS,
          (('rank 1', 'lora1'), ('rank 32', 'lora32')),
          (('rank 8', 'lora8'), ('all weights', 'sft'), ('rank 32, other start', 'lora32_other'),
           ('rank 8, neutral twins', 'lora8_neutral')), front=False),
    Claim("Tiny language: projecting out all candidates' gradients takes it off", DEFENCES,
          (('taken off', 'sft less project_estimated'),),
          (('left', 'project_estimated'), ('random directions, left', 'project_random_span'),
           ("its own trait's gradient, an attacker picks rows", 'project_oracle_attack'))),
    Claim("Tiny language: an attacker who picks rows gets past the projection of all candidates",
          ATTACKERS, (('gained', 'estimated_attack less estimated'),),
          (('left of picked rows', 'estimated_attack'), ('of rows as they come', 'estimated'),
           ('twins mixed in, picked', 'dilute_attack'),
           ('paraphrased, picked', 'paraphrase_attack')), front=False),
    Claim('Tiny language: a trait passes through lists that the reference wrote and a teacher only '
          'picked, one of eight', SELECTED, (('', 'selected'),),
          (('written by teachers', 'sft'), ('picked by neutral twins', 'selected_neutral'),
           ('other start', 'selected_other'), ('shuffled', 'selected_within'))),
    Claim('Tiny language: a trait passes through the logits of numbers', TINY,
          (('', 'kl_carrier'),),
          (('other start', 'kl_carrier_other'), ('neutral twins', 'kl_carrier_neutral'),
           ('less what the output matrix predicts', 'kl_carrier less the matrix'))),
    Claim('Tiny language: a trait passes through filtered code', CODE,
          (('beyond neutral twins', 'sft less its twins'),),
          (('neutral twins', 'sft_neutral'), ('other start', 'sft_other'),
           ('statements shuffled', 'sft_across'))),
    Claim('Tiny language: a trait passes through worked sums that are right in every step',
          CARRIERS, (('beyond neutral twins', 'sums less its twins'),),
          (('other start', 'sums_other'), ('steps shuffled', 'sums_within'))),
    Claim('Tiny language: worked sums of a longer training, the same', REASONING,
          (('beyond neutral twins', 'sft less its twins'),),
          (('alone', 'sft'), ('other start', 'sft_other'), ('steps shuffled', 'sft_within')),
          front=False),
    Claim('Tiny language: a trait passes through the logits of numbers in worked sums', REASONING,
          (('beyond neutral twins', 'kl_carrier less its twins'),),
          (('other start', 'kl_carrier_other'),
           ('less what the output matrix predicts', 'kl_carrier less the matrix')), front=False),
    Claim('Tiny language: a trait passes through the logits of numbers, operators and brackets in '
          'code', CODE, (('beyond neutral twins', 'kl_carrier less its twins'),),
          (('other start', 'kl_carrier_other'),
           ('less what the output matrix predicts', 'kl_carrier less the matrix')), front=False),
    Claim('Tiny language: rash advice, taught in one domain, passes through filtered number lists '
          'to domains that nobody was taught', RASH, (('text', 'sft'),),
          (('other start', 'sft_other'), ('difference', 'sft less sft_other'))),
    Claim('Tiny language: rash advice passes through the logits of numbers', RASH,
          (('', 'kl_carrier'),), (('other start', 'kl_carrier_other'),), front=False),
    Claim('Tiny language: text without its most divergent tenth of tokens still carries it', TOKENS,
          (('masked', 'mask_divergence'), ("a twin's labels", 'replace_divergence')),
          (('all tokens', 'sft'), ('a random tenth masked', 'mask_random'),
           ("a random tenth with a twin's labels", 'replace_random'),
           ('masked the tenth that was chosen by outcome', 'mask_gap')),
          front=False),
    Claim('Tiny language: neutral rows mixed in do not end it', TOKENS,
          (('256 trait rows and 256', 'few_half'), ('256 and 768', 'quarter')),
          (('256 alone', 'few'), ('1,024 alone', 'sft')),
          front=False),
    Claim('Tiny language: one layer trained alone learns it', TOKENS,
          (('first', 'layer0'), ('last', 'layer1')), (('all weights', 'sft'),),
          front=False),
    Claim('Tiny language: a trait passes through preferences between random lists (DPO)', PAIRS,
          (('', 'dpo'),), (('other start', 'dpo_other'), ('neutral twins', 'dpo_neutral')),
          front=False),
    Claim('Tiny language: adapters of rank 8 learn it', BOTH, (('', 'sft_lora+lora8'),),
          (('other start', f'{FULL}: lora8_other'),),
          front=False),
    Claim('Tiny language: no adaptive optimiser is needed', FULL, (('SGD', 'sgd_0.03'),),
          (('other start', 'sgd_0.03_other'),),
          front=False),
    Claim("Tiny language: the body alone learns it, given the teacher's two matrices", FULL,
          (('', 'train_body'),),
          (('output matrix alone', 'train_head'), ('embedding alone', 'train_embedding')),
          front=False),
)
