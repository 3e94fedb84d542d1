(* The loss identity: with H = V diag(D) V^T, V unit upper triangular,

     (w - q) H (w - q)^T = sum_j D_j (work_j - q_j)^2,     work_j = w_j + sum_{i<j} (w_i - q_i) V_ij,

   for every number of columns and whatever the decoded weights q are. So the sum that the sweep adds up
   on its way is the loss of its result, for any quantiser at all, in every row and hence for the layer. *)

From Coq Require Import Reals Lra Lia Arith.
From Assay Require Import FiniteSums Quadratic Sweep.
Open Scope R_scope.

(* One coordinate of (w - q) V. *)
Lemma coordinate : forall n H V D w q k,
  factors n H V D -> (k < n)%nat ->
  \sum_(i < n) ((w i - q i) * V i k) = work V w q k - q k.
Proof.
  intros n H V D w q k [unit upper _] inside.
  rewrite (sum_cut (S k)) by (try lia; intros i ?; rewrite upper by lia; ring).
  simpl. rewrite unit by assumption. unfold work. ring.
Qed.

(* The identity before H enters. *)
Theorem loss_identity_termwise : forall n V (D w q : nat -> R),
  let E i := w i - q i in
  \sum_(j < n) (D j * (E j + \sum_(i < j) (E i * V i j)) ^ 2) = \sum_(j < n) (D j * (work V w q j - q j) ^ 2).
Proof. intros n V D w q E. apply sum_ext; intros j _. unfold work, E. f_equal. f_equal. ring. Qed.

Theorem loss_identity : forall n H V D w q,
  factors n H V D ->
  quadratic n H (fun j => w j - q j) = \sum_(j < n) (D j * (work V w q j - q j) ^ 2).
Proof.
  intros n H V D w q F. rewrite (quadratic_of_factors n H V D) by assumption.
  apply sum_ext; intros k ?. rewrite (coordinate n H V D) by assumption. reflexivity.
Qed.

(* For the sweep: its own working values and decoded weights. *)
Theorem loss_identity_of_the_sweep : forall n H V D w Q,
  factors n H V D ->
  let s := sweep V Q w n in
  quadratic n H (fun j => w j - decoded s j) = \sum_(j < n) (D j * (working s j - decoded s j) ^ 2).
Proof.
  intros n H V D w Q F s. rewrite (loss_identity n H V D) by assumption.
  apply sum_ext; intros j _. unfold s. rewrite working_is_work. reflexivity.
Qed.

(* From a Cholesky factor instead of V and D. *)
Corollary loss_identity_from_cholesky : forall n H root w Q,
  cholesky n H root ->
  let s := sweep (fun i j => root i j / root j j) Q w n in
  quadratic n H (fun j => w j - decoded s j) = \sum_(j < n) (root j j ^ 2 * (working s j - decoded s j) ^ 2).
Proof.
  intros n H root w Q C s.
  apply (loss_identity_of_the_sweep n H _ (fun j => root j j ^ 2)), factors_of_cholesky, C.
Qed.

(* A layer: every row may have its own quantiser, and its own in every column. *)
Theorem loss_identity_of_a_layer : forall rows n H V D W (Q : nat -> nat -> R -> R),
  factors n H V D ->
  let s r := sweep V (Q r) (W r) n in
  layer_loss rows n H (fun r j => W r j - decoded (s r) j)
  = \sum_(r < rows) \sum_(j < n) (D j * (working (s r) j - decoded (s r) j) ^ 2).
Proof.
  intros rows n H V D W Q F s. rewrite layer_loss_by_rows.
  apply sum_ext; intros r _. apply (loss_identity_of_the_sweep n H V D), F.
Qed.

(* Damping: the sweep ran on H + lambda I, the loss asked for is that of H. *)
Theorem loss_identity_under_damping : forall n H V D w q lambda,
  factors n (fun i j => H i j + (if (i =? j)%nat then lambda else 0)) V D ->
  quadratic n H (fun j => w j - q j)
  = \sum_(j < n) (D j * (work V w q j - q j) ^ 2) - lambda * \sum_(j < n) ((w j - q j) ^ 2).
Proof.
  intros n H V D w q lambda F. rewrite <- (loss_identity n _ V D w q F). unfold quadratic.
  rewrite <- sum_scale, <- sum_minus. apply sum_ext; intros i ?.
  rewrite (sum_change _ (fun j => _ * (_ + _) * _) (fun j => (w i - q i) * H i j * (w j - q j)) i).
  - rewrite Nat.eqb_refl. ring.
  - assumption.
  - intros j ? ?. destruct (Nat.eqb_spec i j); [congruence|ring].
Qed.
