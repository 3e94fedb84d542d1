(* Sums over 0 .. n-1 of a function nat -> R, and the few facts about them that the other files use.

   Vectors are functions nat -> R and matrices nat -> nat -> R. A size is given apart from them, and
   nothing is ever assumed about entries at or beyond it: one proof then serves every size. *)

From Coq Require Import Reals Lra Lia Arith.
Open Scope R_scope.

Fixpoint sum (n : nat) (f : nat -> R) : R :=
  match n with
  | O => 0
  | S k => sum k f + f k
  end.

Notation "'\sum_' ( k < n ) f" := (sum n (fun k => f))
  (at level 36, k name, n at level 50, f at level 36, format "'\sum_' ( k  <  n )  f") : R_scope.

Lemma sum_ext : forall n f g, (forall k, (k < n)%nat -> f k = g k) -> sum n f = sum n g.
Proof.
  induction n as [|n IH]; intros f g same; simpl; [reflexivity|].
  rewrite (IH f g), (same n) by (intros; try apply same; lia). reflexivity.
Qed.

Lemma sum_zero : forall n f, (forall k, (k < n)%nat -> f k = 0) -> sum n f = 0.
Proof.
  induction n as [|n IH]; intros f zero; simpl; [reflexivity|].
  rewrite IH, zero by (intros; try apply zero; lia). ring.
Qed.

Lemma sum_plus : forall n f g, \sum_(k < n) (f k + g k) = sum n f + sum n g.
Proof. induction n as [|n IH]; intros; simpl; [|rewrite IH]; ring. Qed.

Lemma sum_minus : forall n f g, \sum_(k < n) (f k - g k) = sum n f - sum n g.
Proof. induction n as [|n IH]; intros; simpl; [|rewrite IH]; ring. Qed.

Lemma sum_scale : forall n c f, \sum_(k < n) (c * f k) = c * sum n f.
Proof. induction n as [|n IH]; intros; simpl; [|rewrite IH]; ring. Qed.

Lemma sum_scale_right : forall n c f, \sum_(k < n) (f k * c) = sum n f * c.
Proof. induction n as [|n IH]; intros; simpl; [|rewrite IH]; ring. Qed.

Lemma sum_exchange : forall m n (f : nat -> nat -> R),
  \sum_(i < m) \sum_(j < n) f i j = \sum_(j < n) \sum_(i < m) f i j.
Proof.
  induction m as [|m IH]; intros n f; simpl.
  - symmetry. apply sum_zero. reflexivity.
  - rewrite IH, <- sum_plus. reflexivity.
Qed.

Lemma sum_product : forall m n f g, sum m f * sum n g = \sum_(i < m) \sum_(j < n) (f i * g j).
Proof.
  intros m n f g. rewrite <- sum_scale_right. apply sum_ext. intros i _. symmetry. apply sum_scale.
Qed.

(* Terms that vanish from m on may be left out. *)
Lemma sum_cut : forall m n f,
  (m <= n)%nat -> (forall k, (m <= k < n)%nat -> f k = 0) -> sum n f = sum m f.
Proof.
  intros m n f; induction n as [|n IH]; intros below zero.
  - replace m with O by lia. reflexivity.
  - destruct (Nat.eq_dec m (S n)) as [->|]; [reflexivity|].
    simpl. rewrite IH, zero by (intros; try apply zero; lia). ring.
Qed.

Lemma sum_only : forall n f j,
  (j < n)%nat -> (forall k, (k < n)%nat -> k <> j -> f k = 0) -> sum n f = f j.
Proof.
  intros n f j inside zero. rewrite (sum_cut (S j)) by (intros; try apply zero; lia).
  simpl. rewrite sum_zero by (intros; apply zero; lia). ring.
Qed.

(* Two sums whose terms differ in one place only. *)
Lemma sum_change : forall n f g j,
  (j < n)%nat -> (forall k, (k < n)%nat -> k <> j -> f k = g k) -> sum n f = sum n g + (f j - g j).
Proof.
  intros n f g j inside same.
  assert (H : \sum_(k < n) (f k - g k) = f j - g j).
  { apply (sum_only n (fun k => f k - g k)); [assumption|]. intros k ? ?. rewrite same by assumption. ring. }
  rewrite sum_minus in H. lra.
Qed.

Lemma sum_le : forall n f g, (forall k, (k < n)%nat -> f k <= g k) -> sum n f <= sum n g.
Proof.
  induction n as [|n IH]; intros f g below; simpl; [lra|].
  apply Rplus_le_compat; [apply IH; intros|]; apply below; lia.
Qed.

Lemma sum_nonneg : forall n f, (forall k, (k < n)%nat -> 0 <= f k) -> 0 <= sum n f.
Proof.
  intros n f nonneg. rewrite <- (sum_zero n (fun _ => 0)) by reflexivity. apply sum_le, nonneg.
Qed.

Lemma sum_prefix_le : forall m n f,
  (m <= n)%nat -> (forall k, (m <= k < n)%nat -> 0 <= f k) -> sum m f <= sum n f.
Proof.
  intros m n f; induction n as [|n IH]; intros below nonneg.
  - replace m with O by lia. lra.
  - destruct (Nat.eq_dec m (S n)) as [->|]; [lra|]. simpl.
    assert (sum m f <= sum n f) by (apply IH; [lia|intros; apply nonneg; lia]).
    assert (0 <= f n) by (apply nonneg; lia). lra.
Qed.

Lemma sum_term_le : forall n f j,
  (j < n)%nat -> (forall k, (k < n)%nat -> 0 <= f k) -> f j <= sum n f.
Proof.
  intros n f j inside nonneg.
  apply Rle_trans with (sum (S j) f); [|apply sum_prefix_le; [lia|intros; apply nonneg; lia]].
  simpl. assert (0 <= sum j f) by (apply sum_nonneg; intros; apply nonneg; lia). lra.
Qed.

(* A sum of non-negative terms vanishes only when each term does. *)
Lemma sum_zero_terms : forall n f,
  (forall k, (k < n)%nat -> 0 <= f k) -> sum n f = 0 -> forall k, (k < n)%nat -> f k = 0.
Proof.
  intros n f nonneg zero k inside.
  assert (f k <= sum n f) by (apply sum_term_le; assumption).
  assert (0 <= f k) by (apply nonneg; assumption). lra.
Qed.

Lemma sum_tail_zero : forall m n f,
  (m <= n)%nat -> (forall k, (m <= k < n)%nat -> 0 <= f k) -> sum n f = sum m f ->
  forall k, (m <= k < n)%nat -> f k = 0.
Proof.
  intros m n f; induction n as [|n IH]; intros below nonneg same k range; [lia|]. simpl in same.
  assert (sum m f <= sum n f) by (apply sum_prefix_le; [lia|intros; apply nonneg; lia]).
  assert (0 <= f n) by (apply nonneg; lia).
  destruct (Nat.eq_dec k n) as [->|]; [lra|].
  apply IH; [lia|intros; apply nonneg; lia|lra|lia].
Qed.
