"""What no program can derive about a cell: what it remembers, when to use it, and where it was published."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Notes:
    """remembers: how the cell keeps and loses what it saw; use: when to take it, and when another one."""

    remembers: str
    use: str


PAPERS = {
    "Hochreiter & Schmidhuber 1997": (
        "S. Hochreiter, J. Schmidhuber: Long Short-Term Memory. Neural Computation 9(8):1735-1780, 1997. doi:10.1162/neco.1997.9.8.1735"
    ),
    "Gers, Schmidhuber & Cummins 1999": (
        "F. A. Gers, J. Schmidhuber, F. Cummins: Learning to Forget: Continual Prediction with LSTM. ICANN 1999, pp. 850-855; "
        "Neural Computation 12(10):2451-2471, 2000. doi:10.1162/089976600300015015"
    ),
    "Gers & Schmidhuber 2000": (
        "F. A. Gers, J. Schmidhuber: Recurrent Nets that Time and Count. IJCNN 2000, vol. 3, pp. 189-194. doi:10.1109/IJCNN.2000.861302"
    ),
    "Greff et al. 2017": (
        "K. Greff, R. K. Srivastava, J. Koutník, B. R. Steunebrink, J. Schmidhuber: LSTM: A Search Space Odyssey. "
        "IEEE Transactions on Neural Networks and Learning Systems 28(10):2222-2232, 2017. doi:10.1109/TNNLS.2016.2582924"
    ),
    "Jozefowicz et al. 2015": (
        "R. Jozefowicz, W. Zaremba, I. Sutskever: An Empirical Exploration of Recurrent Network Architectures. "
        "ICML 2015, PMLR 37:2342-2350."
    ),
    "van der Westhuizen & Lasenby 2018": (
        "J. van der Westhuizen, J. Lasenby: The unreasonable effectiveness of the forget gate. arXiv:1804.04849, 2018."
    ),
    "Cho et al. 2014": (
        "K. Cho, B. van Merriënboer, C. Gulcehre, D. Bahdanau, F. Bougares, H. Schwenk, Y. Bengio: Learning Phrase Representations using "
        "RNN Encoder-Decoder for Statistical Machine Translation. EMNLP 2014, pp. 1724-1734. doi:10.3115/v1/D14-1179"
    ),
    "Chung et al. 2014": (
        "J. Chung, C. Gulcehre, K. Cho, Y. Bengio: Empirical Evaluation of Gated Recurrent Neural Networks on Sequence Modeling. "
        "arXiv:1412.3555, 2014."
    ),
    "Zhou et al. 2016": (
        "G.-B. Zhou, J. Wu, C.-L. Zhang, Z.-H. Zhou: Minimal Gated Unit for Recurrent Neural Networks. "
        "International Journal of Automation and Computing 13(3):226-234, 2016. doi:10.1007/s11633-016-1006-2"
    ),
    "Collins, Sohl-Dickstein & Sussillo 2017": (
        "J. Collins, J. Sohl-Dickstein, D. Sussillo: Capacity and Trainability in Recurrent Neural Networks. ICLR 2017. arXiv:1611.09913"
    ),
    "Elman 1990": "J. L. Elman: Finding Structure in Time. Cognitive Science 14(2):179-211, 1990. doi:10.1207/s15516709cog1402_1",
    "Kusupati et al. 2018": (
        "A. Kusupati, M. Singh, K. Bhatia, A. Kumar, P. Jain, M. Varma: FastGRNN: A Fast, Accurate, Stable and Tiny Kilobyte Sized "
        "Gated Recurrent Neural Network. NeurIPS 2018. arXiv:1901.02358"
    ),
}

NOTES = {
    "lstm": Notes(
        "The cell state c is a sum over time. The forget gate says how much of the old sum stays, the input gate how much of the "
        "candidate enters, the output gate what others see of it.",
        "The one to start with: exporters write it, it trains with both kinds of gates, and it can hold, overwrite and clear its memory.",
    ),
    "lstm_1997": Notes(
        "The cell state is a plain sum: what has entered stays until something of the opposite sign enters. There is no way to "
        "clear it but a reset.",
        "Sequences with a beginning and an end, where a few events must be kept over long gaps. Three rows instead of four. For "
        "endless streams the sum grows until it saturates: take a cell that forgets, or keep c in 32 bits.",
    ),
    "lstm_1997_gate_recurrence": Notes(
        "As `lstm_1997`; besides, all rows see the gates of the step before, so that the unit knows what it just let in and out.",
        "To rebuild nets of the paper's time exactly. It costs units × units more weights for each pair of row and gate; "
        "otherwise `lstm_1997`.",
    ),
    "lstm_1999": Notes(
        "As `lstm`, with the candidate in [-2, 2] and the output squashing of 1997: the first cell that can clear its own memory.",
        "To rebuild published results on continual tasks (the embedded Reber grammar without resets). Otherwise `lstm`.",
    ),
    "lstm_peephole": Notes(
        "As `lstm`; besides, each gate sees its own cell state through one learned number: it can act when the memory reaches a "
        "level, even while the output gate hides it.",
        "Counting and measuring time: intervals, rhythms, the n-th event. Costs three numbers and three products a unit.",
    ),
    "lstm_2000": Notes(
        "As `lstm_peephole`, with the candidate of 1997 and an output that is not squashed: what the unit shows grows with what it stores.",
        "Counting far, where a squashed output could not tell 20 from 21. The output's format follows calibration, so calibrate "
        "on sequences as long as those to come.",
    ),
    "lstm_coupled": Notes(
        "What enters replaces what was there: f = 1 − i. The cell state is a mixture of candidates and never leaves [-1, 1].",
        "A quarter fewer weights and work than `lstm` at much the same accuracy on most tasks (Greff et al. 2017), and no "
        "saturation of c. It cannot add up: to count, take another.",
    ),
    "lstm_coupled_peephole": Notes(
        "As `lstm_coupled`, with peepholes to the two gates that it has.",
        "What ONNX calls `input_forget = 1` with peepholes P: read such models, or train where the coupled cell must time its actions.",
    ),
    "lstm_no_input_gate": Notes(
        "Every candidate enters; only the forget gate decides how long it lasts. The memory is a sum with an adjustable horizon.",
        "Mostly for comparison: every step disturbs the memory. The ablations find it worse than the full cell (Greff et al. "
        "2017; Jozefowicz et al. 2015).",
    ),
    "lstm_no_output_gate": Notes(
        "Memory as in `lstm`, but always in view of the other units.",
        "When flash is short: a quarter fewer weights. Of the three gates this is the one whose loss costs least (Jozefowicz et al. 2015).",
    ),
    "lstm_long_lag": Notes(
        "Memory as in `lstm`, with candidates of at most a quarter. Layers behind, the read-out too, see the squashed cell state "
        "itself; the output gate decides only what the other units see of it.",
        "An answer that hangs on one or two events long ago: what is stored reaches the read-out, and its error the cell state, "
        "without a gate between. Train it with the schedule `long_lag`. In a stack each layer shows the next one all of its memory.",
    ),
    "janet": Notes(
        "One gate: what is not kept is replaced. The output is the cell state itself.",
        "Half the weights of an LSTM. Strong on long memory when the forget bias starts high (the paper's chrono initialization)."
        " With a threshold gate a unit is a sample-and-hold.",
    ),
    "gru": Notes(
        "The update gate z holds the state or moves it to the candidate; the reset gate r takes the recurrent part out of the "
        "candidate. There is no hidden memory: the state is the output.",
        "Three rows instead of four and one state. This form (the reset multiplies the product) is the one of PyTorch, cuDNN and "
        "Keras, and needs one pass over the units.",
    ),
    "gru_reset_before": Notes(
        "As `gru`, but the reset gate takes single units out before the recurrent product.",
        "Models in the form of the papers, or of Keras with `reset_after=False`. The candidate waits for all units' reset gates, "
        "so a step takes two passes and one more vector of memory.",
    ),
    "mgu": Notes(
        "One gate for both tasks of the GRU: where it opens, the state moves to a candidate that sees exactly those units.",
        "Two thirds of a GRU's weights. The candidate waits for all units' gates: two passes a step.",
    ),
    "ugrnn": Notes(
        "One gate between the state of the step before and the candidate, as in a GRU without reset gate.",
        "Two rows, one state, one pass over the units: half the weights of an LSTM. With a threshold gate a unit holds its state "
        "or takes the candidate, nothing between.",
    ),
    "rnn": Notes(
        "Nothing is held: each step makes the state anew, and what is old fades with every product.",
        "The baseline. Good for reactions to the last few steps, at a quarter of an LSTM's cost.",
    ),
    "rnn_relu": Notes(
        "As `rnn`; a unit that is active may stay so without fading, or grow: its output is unbounded.",
        "Models that come with it. The output's format follows calibration and saturates beyond it.",
    ),
    "fastgrnn": Notes(
        "Gate and candidate share one row and differ by their bias; the two learned numbers ζ and ν say how much the candidate counts.",
        "The smallest gated cell: the weights of a vanilla network. Where flash decides everything.",
    ),
}
